/** What a thread that serves requests does, from its start to the end of the mount. Started by workers.ts. */
import '../../system/exact-paths.ts';
import { closeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { blake3Implementation } from '../../base/digest.ts';
import { reasonOf } from '../../base/error.ts';
import type { Log } from '../../base/log.ts';
import { useNativeModules } from '../../base/native-package.ts';
import type { ImageFilesystem } from '../../fs/image-filesystem.ts';
import { ReadingEvents } from '../../fs/reading-events.ts';
import { FUSE_OPEN } from '../../fuse/abi.ts';
import { DeviceBackingRegistry } from '../../fuse/device.ts';
import type { RequestServer, Waiting } from '../../fuse/dispatcher.ts';
import { opcodeName } from '../../fuse/opcodes.ts';
import { RequestQueue } from '../../fuse/request-queue.ts';
import { type TraceOptions, traced } from '../../fuse/request-trace.ts';
import { attachTables, type ManifestTables } from '../../manifest/tables.ts';
import { koffi } from '../../system/libc.ts';
import { ActivityCounts } from '../activity.ts';
import { Counters } from '../counters.ts';
import { letGoOfMount } from '../mount-end.ts';
import { OpeningOrder } from '../opening-order.ts';
import { ProblemMemory } from '../problem-memory.ts';
import { servedFilesystem } from '../served-filesystem.ts';
import type { ServeMessage, WorkerReport } from './mount-message.ts';
import { WorkTable } from './requests-in-progress.ts';
import { ServingTurn } from './serving-turn.ts';

const ENOUGH_OPENINGS = 3;

const report = (message: WorkerReport): void => parentPort?.postMessage(message);

/** The parts of a thread that any mount has. */
export interface ThreadParts {
  readonly image: ImageFilesystem;
  readonly tables: ManifestTables;
  /** The connection. */
  readonly fd: number;
  /** Undefined without passthrough. */
  readonly registry: DeviceBackingRegistry | undefined;
  /** Its number among the threads of the mount, from 0. */
  readonly thread: number;
  readonly log: Log;
  readonly waiting: Waiting;
  readonly counters: Counters;
}

/** The server of one thread. */
export interface ThreadServer {
  readonly server: RequestServer;
  /** For the trace of requests. */
  readonly trace: Pick<TraceOptions, 'pathOf' | 'writable'>;
  /** Compiles code that requests will need, until one waits. It counts nothing. */
  warmUp?(isAsked: () => boolean): void;
  /** Called after each request that was answered, with the thread that sent it; 0 for the kernel. */
  answered?(caller: number): void;
}

/** Makes the server of a thread. Thread 0 does so before any other thread, and before the first request. */
export type MakeServer = (message: ServeMessage, parts: ThreadParts) => ThreadServer;

/** The whole life of a thread: waits for its message, and serves. */
export function runServingThread(makeServer: MakeServer): void {
  // `serve` does not return to the event loop until the mount ends: nothing asynchronous works in there but posting to
  // the main thread
  parentPort?.once('message', (message: ServeMessage) => {
    serve(message, makeServer);
    parentPort?.close();
  });
}

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

function serve(message: ServeMessage, makeServer: MakeServer): void {
  const memory = new ProblemMemory(message.problems);
  const log: Log = (line, severity = 'warning', about, event) => {
    if (severity !== 'debug') memory.record(line, severity, about);
    report({ type: 'log', line, severity, about, event });
  };
  if (!loadAll(message, log)) {
    if (message.ownsFd) closeSync(message.fd);
    return;
  }
  const tables = attachTables(message.tables);
  const events = new ReadingEvents(message.events);
  const openings = message.openings && new OpeningOrder(message.openings);
  let isAheadWanted = false;
  let isWarmingUp = false;
  const counters = new Counters(message.counters, message.thread);
  const tell: ReadingEvents['tell'] = (event, value) => {
    if (isWarmingUp) return;
    events.tell(event, value);
    if (event === 'opened') openings?.opened(value);
    if (isAheadWanted || event !== 'opened' || events.openings < ENOUGH_OPENINGS) return;
    isAheadWanted = true;
    report({ type: 'openings' });
  };
  // names of the upper layer are known to the server alone, which is made from this
  const pathOf = message.layerSources.length === 0 ? undefined : (ino: number) => trace.pathOf(ino);
  // another thread fetches what no repository has
  const elsewhere = message.remote === undefined ? undefined : () => undefined;
  const fs = servedFilesystem(message, tables, log, counters, tell, pathOf, elsewhere);
  const { fd, thread } = message;
  const turn = new ServingTurn(message.turn, thread);
  const table = new WorkTable(message.work);
  const waiting: Waiting = {
    begin: ({ uniqueLow, uniqueHigh, pid }) => {
      if (table.begin(thread, uniqueLow, uniqueHigh, pid)) report({ type: 'working' });
    },
    beforeWork: (bytes) => turn.beforeWork(bytes),
    interrupt: (uniqueLow, uniqueHigh) => {
      table.interrupt(uniqueLow, uniqueHigh);
      if (message.remote !== undefined) report({ type: 'interrupted', uniqueLow, uniqueHigh });
    },
  };
  const registry = message.passthrough ? new DeviceBackingRegistry(fd) : undefined;
  const parts = { image: fs, tables, fd, registry, thread, log, waiting, counters };
  const { server, trace, ...made } = makeServer(message, parts);
  const queue = new RequestQueue(fd);
  report({ type: 'serving' });
  try {
    // the others start while this one has the turn
    if (thread === 0) {
      isWarmingUp = true;
      made.warmUp?.(() => queue.isWaiting);
      isWarmingUp = false;
    }
    const serveOne = message.debug
      ? traced(server, opcodeName, { log: (line) => log(line, 'debug'), thread, ...trace })
      : (length: number): number => server.serve(length);
    const activity = new ActivityCounts(message.activity, thread);
    const end = (): boolean => table.end(thread);
    const defer = (bytes: Uint8Array): void => report({ type: 'deferred', fd, bytes });
    serveQueue(queue, server, turn, watched(server, serveOne, activity), { end, defer, answered: made.answered });
    report({ type: 'ended' });
    if (message.end !== undefined) letGoOfMount(message.end, message.leaseFiles);
  } finally {
    if (message.ownsFd) closeSync(fd);
  }
}

/** Counts requests by their time, and opens by file, while someone watches. */
function watched(
  { request }: RequestServer,
  serveOne: (length: number) => number,
  activity: ActivityCounts,
): (length: number) => number {
  return (length) => {
    if (!activity.isWatched) return serveOne(length);
    const began = performance.now();
    const replyLength = serveOne(length);
    activity.request(performance.now() - began);
    if (request.opcode === FUSE_OPEN) activity.opened(request.nodeid);
    return replyLength;
  };
}

interface Around {
  /** Called before the answer is sent; returns false if another thread has answered. */
  readonly end: () => boolean;
  /** Hands a request over, which is to be answered later. */
  readonly defer: (request: Uint8Array) => void;
  readonly answered: ThreadServer['answered'];
}

/**
 * @param serveOne Dispatcher.serve, or a wrapper of it
 */
function serveQueue(
  queue: RequestQueue,
  dispatcher: RequestServer,
  turn: ServingTurn,
  serveOne: (length: number) => number,
  { end, defer, answered }: Around,
): void {
  const { request, reply } = dispatcher;
  try {
    for (;;) {
      turn.take();
      const length = queue.next(request.bytes);
      if (length === 0) return;
      const replyLength = serveOne(length);
      if (!end()) dispatcher.abandon();
      else if (dispatcher.isDeferred) defer(Uint8Array.from(request.bytes.subarray(0, length)));
      else if (replyLength > 0) queue.reply(reply.bytes, replyLength);
      answered?.(request.pid);
    }
  } finally {
    turn.pass();
  }
}
