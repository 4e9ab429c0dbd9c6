/** A worker thread that serves requests of a mount until the mount ends. Started by workers.ts. */
import '../../system/exact-paths.ts';
import { closeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { blake3Implementation } from '../../base/digest.ts';
import { reasonOf } from '../../base/error.ts';
import type { Log } from '../../base/log.ts';
import { useNativeModules } from '../../base/native-package.ts';
import { ReadingEvents } from '../../fs/reading-events.ts';
import { DeviceBackingRegistry } from '../../fuse/device.ts';
import { imageDispatcher } from '../../fuse/dispatch.ts';
import type { RequestServer, Waiting } from '../../fuse/dispatcher.ts';
import { opcodeName } from '../../fuse/opcodes.ts';
import { OpenFileJournal } from '../../fuse/open-file-journal.ts';
import { OpenFiles } from '../../fuse/open-files.ts';
import { RequestQueue } from '../../fuse/request-queue.ts';
import { type TraceOptions, traced } from '../../fuse/request-trace.ts';
import { warmUp } from '../../fuse/warm-up.ts';
import { attachTables } from '../../manifest/tables.ts';
import { koffi } from '../../system/libc.ts';
import { Counters } from '../counters.ts';
import { letGoOfMount } from '../mount-end.ts';
import { ProblemMemory } from '../problem-memory.ts';
import { originalsOf, servedFilesystem } from '../served-filesystem.ts';
import { layeredServer, type ThreadParts, type ThreadServer } from './layered-server.ts';
import type { ServeMessage, WorkerReport } from './mount-message.ts';
import { WorkTable } from './requests-in-progress.ts';
import { ServingTurn } from './serving-turn.ts';

const ENOUGH_OPENINGS = 3;

const report = (message: WorkerReport): void => parentPort?.postMessage(message);

// `serve` does not return to the event loop until the mount ends: nothing asynchronous works in here but
// posting to the main thread
parentPort?.once('message', (message: ServeMessage) => {
  serve(message);
  parentPort?.close();
});

/**
 * Loads all the code of the thread. After the mount answers, nothing of the program is read from its files: they may be
 * moved, or replaced by another version.
 * @returns false if a later thread cannot load what it needs: the portable BLAKE3 is read from its files each time
 */
function loadAll({ natives, thread }: ServeMessage, log: (line: string) => void): boolean {
  useNativeModules(natives);
  try {
    blake3Implementation();
    koffi();
    return true;
  } catch (error) {
    if (thread === 0) throw error;
    log(
      `cannot start another thread: ${reasonOf(error)}. The mount continues with the threads that it has: requests may wait. If the program's files were moved, put them back, or upgrade the mount to another version.`,
    );
    return false;
  }
}

function serve(message: ServeMessage): void {
  const memory = new ProblemMemory(message.problems);
  const log: Log = (line, severity = 'warning', about) => {
    if (severity !== 'debug') memory.record(line, severity, about);
    report({ type: 'log', line, severity });
  };
  if (!loadAll(message, log)) {
    if (message.ownsFd) closeSync(message.fd);
    return;
  }
  const tables = attachTables(message.tables);
  const events = new ReadingEvents(message.events);
  let isAheadWanted = false;
  let isWarmingUp = false;
  const counters = new Counters(message.counters, message.thread);
  const fs = servedFilesystem(message, tables, log, counters, (event, value) => {
    if (isWarmingUp) return;
    events.tell(event, value);
    if (isAheadWanted || event !== 'opened' || events.openings < ENOUGH_OPENINGS) return;
    isAheadWanted = true;
    report({ type: 'openings' });
  });
  const { fd, thread } = message;
  const turn = new ServingTurn(message.turn, thread);
  const table = new WorkTable(message.work);
  const waiting: Waiting = {
    begin: ({ uniqueLow, uniqueHigh, pid }) => {
      if (table.begin(thread, uniqueLow, uniqueHigh, pid)) report({ type: 'working' });
    },
    beforeWork: (bytes) => turn.beforeWork(bytes),
    interrupt: (low, high) => table.interrupt(low, high),
  };
  const registry = message.passthrough ? new DeviceBackingRegistry(fd) : undefined;
  const { layer } = message;
  const parts = { image: fs, tables, fd, registry, thread, log, waiting, counters };
  const { server, pathOf } =
    layer === undefined
      ? imageServer(message, parts)
      : layeredServer(layer, { ...parts, originals: originalsOf(message, tables, log, counters) });
  const queue = new RequestQueue(fd);
  report({ type: 'serving' });
  try {
    // the others start while this one has the turn. Not with a layer: there a look-up counts
    if (thread === 0 && layer === undefined) {
      isWarmingUp = true;
      warmUp(fs, server.reply, () => queue.isWaiting);
      isWarmingUp = false;
    }
    const writable = layer !== undefined;
    const trace: TraceOptions = { log: (line) => log(line, 'debug'), thread, pathOf, writable };
    const serveOne = message.debug
      ? traced(server, opcodeName, trace)
      : (length: number): number => server.serve(length);
    serveQueue(queue, server, turn, serveOne, () => table.end(thread));
    report({ type: 'ended' });
    if (message.end !== undefined) letGoOfMount(message.end, message.leaseFiles);
  } finally {
    if (message.ownsFd) closeSync(fd);
  }
}

/** The server of a read-only mount. */
function imageServer(
  { openFileState, journal: file, epoch, restores }: ServeMessage,
  { image, registry, log, waiting, counters }: ThreadParts,
): ThreadServer {
  const journal = file < 0 ? undefined : new OpenFileJournal(file);
  const openFiles = new OpenFiles(image, openFileState, registry, journal, epoch);
  if (restores && journal !== undefined) openFiles.restore(journal.entries());
  const server = imageDispatcher(image, openFiles, log, waiting, counters);
  return { server, pathOf: (ino) => image.pathOf(ino) };
}

/**
 * @param serveOne Dispatcher.serve, or a wrapper of it
 * @param end called before the answer is sent; returns false if another thread has answered
 */
function serveQueue(
  queue: RequestQueue,
  dispatcher: RequestServer,
  turn: ServingTurn,
  serveOne: (length: number) => number,
  end: () => boolean,
): void {
  const { request, reply } = dispatcher;
  try {
    for (;;) {
      turn.take();
      const length = queue.next(request.bytes);
      if (length === 0) return;
      const replyLength = serveOne(length);
      if (!end()) dispatcher.abandon();
      else if (replyLength > 0) queue.reply(reply.bytes, replyLength);
    }
  } finally {
    turn.pass();
  }
}
