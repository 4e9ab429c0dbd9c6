/**
 * The program of the thread that fetches objects from remote repositories, and answers the requests that wait for them.
 * It has an event loop. Started by workers.ts.
 */
import '../../system/exact-paths.ts';
import { parentPort } from 'node:worker_threads';
import { blake3Implementation } from '../../base/digest.ts';
import type { Log } from '../../base/log.ts';
import { useNativeModules } from '../../base/native-package.ts';
import { DeviceBackingRegistry } from '../../fuse/device.ts';
import { NO_WAITING } from '../../fuse/dispatcher.ts';
import { sendError, sendReply } from '../../fuse/request-queue.ts';
import { objectName } from '../../manifest/lookup.ts';
import { attachTables } from '../../manifest/tables.ts';
import { koffi } from '../../system/libc.ts';
import { Counters } from '../counters.ts';
import { ObjectArrivals } from '../object-arrivals.ts';
import { ProblemMemory } from '../problem-memory.ts';
import { servedFilesystem } from '../served-filesystem.ts';
import { repositoriesOf } from '../served-image.ts';
import { DeferredRequests } from './deferred-requests.ts';
import { imageServer } from './image-server.ts';
import { isBeingKilled, SLOW_MS } from './monitor.ts';
import { FETCH_COUNTERS } from './most-threads.ts';
import type { DeferredRequest, FetchMessage, FetchOrder, WorkerReport } from './mount-message.ts';
import { uniqueOf } from './waiting-requests.ts';

parentPort?.once('message', (message: FetchMessage) => {
  useNativeModules(message.natives);
  // nothing is read from the program's files later
  blake3Implementation();
  koffi();
  const { requests, arrivals } = begin(message);
  parentPort?.on('message', (order: FetchOrder) => {
    if (order.type === 'deferred') void answer(requests, order);
    else if (order.type === 'prefetch') void arrivals.prefetch();
    else if (order.type === 'interrupted') requests.interrupt(order.uniqueLow, order.uniqueHigh);
    // what is under way is given up: nobody waits for it
    else void arrivals.end().finally(() => process.exit(0));
  });
});

/** A bug ends the thread: then the main thread answers. */
async function answer(requests: DeferredRequests, { fd, bytes }: DeferredRequest): Promise<void> {
  const report: WorkerReport = { type: 'answered', ...uniqueOf(bytes) };
  await requests.begin(fd, bytes);
  parentPort?.postMessage(report);
}

function begin(message: FetchMessage): { readonly requests: DeferredRequests; readonly arrivals: ObjectArrivals } {
  const memory = new ProblemMemory(message.problems);
  const log: Log = (line, severity = 'warning', about, event) => {
    memory.record(line, severity, about);
    const report: WorkerReport = { type: 'log', line, severity, about, event };
    parentPort?.postMessage(report);
  };
  const { fd, record } = message;
  const tables = attachTables(message.tables);
  const all = new Counters(message.counters, FETCH_COUNTERS);
  // the thread that read a request has counted it
  const counters = {
    request: () => undefined,
    error: (errno: Parameters<Counters['error']>[0]) => all.error(errno),
    bytesRead: (bytes: number) => all.bytesRead(bytes),
  };
  const registry = message.passthrough ? new DeviceBackingRegistry(fd) : undefined;
  let letGo = (): void => undefined;
  const repositories = repositoriesOf(message, tables);
  const isThere = (row: number): boolean => {
    const { digest, size } = objectName(tables, row);
    return repositories.some((repository) => repository.size(digest) === size);
  };
  const arrivals = new ObjectArrivals(message.remote, record.imageId, tables, log, isThere, () => letGo());
  const requests = new DeferredRequests(
    (elsewhere) => {
      const image = servedFilesystem(message, tables, log, all, undefined, undefined, elsewhere);
      const parts = { image, registry, log, waiting: NO_WAITING, counters };
      const { server, openFiles } = imageServer(message, parts, false);
      letGo = () => openFiles.dropGone();
      return server;
    },
    {
      fetch: (object) => arrivals.fetch(object),
      reply: sendReply,
      answer: sendError,
      isBeingKilled,
      answered: (ms) => ms > SLOW_MS && all.slow(),
    },
  );
  return { requests, arrivals };
}
