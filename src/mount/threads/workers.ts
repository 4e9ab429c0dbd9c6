/**
 * The worker threads of a mount. One serves requests at a time; the others take over when it has to wait for a disk or
 * to hash. So a mount is ready as soon as the first thread is, and the others are started after that. One more thread
 * reads ahead, and is started when the first files are read.
 */

import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { reasonOf } from '../../base/error.ts';
import { programPath } from '../../base/installation.ts';
import type { Log } from '../../base/log.ts';
import { ReadingEvents } from '../../fs/reading-events.ts';
import { cloneDevice } from '../../fuse/device.ts';
import { sendError } from '../../fuse/request-queue.ts';
import { Counters } from '../counters.ts';
import { MountMonitor } from './monitor.ts';
import { MAIN_COUNTERS, MOST_THREADS } from './most-threads.ts';
import type {
  DeferredRequest,
  FetchMessage,
  FetchOrder,
  MountMessage,
  ServeMessage,
  WorkerReport,
} from './mount-message.ts';
import { WaitingRequests } from './waiting-requests.ts';

const AHEAD = 'cfs-readahead-worker.cjs';
const FETCH = 'cfs-fetch-worker.cjs';
type Program = 'cfs-serve-worker.cjs' | 'cfs-serve-layered-worker.cjs' | typeof AHEAD | typeof FETCH;

/** The program of a thread as text that is kept: its file may be moved or replaced before the thread is started. */
function readProgram(program: Program): string {
  const file = programPath(program);
  // packages are found by this name
  return `'use strict'; globalThis.__filename = ${JSON.stringify(file)};\n${readFileSync(file, 'utf8')}`;
}

export class MountWorkers {
  readonly #count: number;
  readonly #serving: Worker[] = [];
  readonly #failures: string[] = [];
  #ahead: Worker | undefined;
  /** Texts of the programs: that of the serving threads, and that of the thread that reads ahead. */
  readonly #serveProgram: string;
  readonly #aheadProgram: string;
  /** Undefined if all repositories are local. */
  readonly #fetchProgram: string | undefined;
  /** Undefined also if it has failed. */
  #fetcher: Worker | undefined;
  readonly #waiting = new WaitingRequests(sendError);
  /** The descriptor that each thread reads. */
  readonly #devices: number[] = [];
  #monitor: MountMonitor | undefined;
  #servingNow = 0;
  /** Threads that were started and do not serve yet, except the first. */
  #starting = 0;
  #share = false;
  #running = 0;
  #allServed: () => void = () => undefined;
  #firstEnds: () => void = () => undefined;
  /** Resolves when the first thread sees that the mount has ended; the others may still be at work. */
  readonly ending: Promise<void>;
  #allEnded: () => void = () => undefined;
  /** Resolves when the last thread has ended, with the errors of those that failed. */
  readonly ended: Promise<readonly string[]>;

  /**
   * Starts the first thread: it takes as long to start as an image takes to read.
   * @param count threads that serve; a single one has no thread to read ahead
   * @param isLayered the mount has an upper layer
   * @param isRemote it has remote repositories
   */
  constructor(count: number, isLayered: boolean, isRemote: boolean) {
    this.#count = count;
    this.#serveProgram = readProgram(isLayered ? 'cfs-serve-layered-worker.cjs' : 'cfs-serve-worker.cjs');
    this.#aheadProgram = readProgram(AHEAD);
    this.#fetchProgram = isRemote ? readProgram(FETCH) : undefined;
    this.ending = new Promise((resolve) => {
      this.#firstEnds = resolve;
    });
    this.ended = new Promise((resolve) => {
      this.#allEnded = () => resolve(this.#failures);
    });
    this.ended.then(() => this.#firstEnds());
    this.#startServing();
  }

  /**
   * Hands the mount to the threads. Resolves when the first one serves.
   * @param log receives the lines of the threads
   * @param share all threads read `deviceFd` itself; otherwise each reads a clone of it
   * @param failed called if the thread that fetches has failed, and requests are lost
   */
  async serve(deviceFd: number, message: MountMessage, log: Log, share: boolean, failed: () => void): Promise<void> {
    this.#share = share;
    const ownCounters = new Counters(message.counters, MAIN_COUNTERS);
    const monitor = new MountMonitor(message.work, message.turn, {
      countSlow: () => ownCounters.slow(),
      // one after another: if each takes seconds to start, on a very busy machine, sixty at once would make it worse
      startThread: () => this.#starting === 0 && this.#addThread(deviceFd, message, log),
      answer: ({ thread, uniqueLow, uniqueHigh }, error) => {
        sendError(this.#devices[thread] as number, uniqueLow, uniqueHigh, error);
      },
    });
    this.#monitor = monitor;
    this.#allServed = () => {
      new ReadingEvents(message.events).end();
      monitor.stop();
      this.#tellFetcher({ type: 'end' });
    };
    const { remote } = message;
    if (remote !== undefined) this.#startFetching({ ...message, remote, fd: deviceFd }, log, failed);
    // a thread that could not be started may have ended already
    const gone = this.ended.then((failures) => {
      throw new Error(failures[0] ?? 'the thread ended');
    });
    await Promise.race([this.#hand(this.#serving[0] as Worker, deviceFd, message, log), gone]);
    this.#tellFetcher({ type: 'prefetch' });
    setImmediate(() => {
      while (this.#serving.length < this.#count && this.#servingNow > 0) {
        this.#addThread(deviceFd, message, log);
      }
    });
  }

  #addThread(deviceFd: number, message: MountMessage, log: Log): void {
    if (this.#serving.length >= MOST_THREADS || this.#servingNow === 0) return;
    this.#unlessShort(log, () => {
      const worker = this.#startServing();
      this.#starting++;
      const started = (): void => {
        this.#starting--;
      };
      // a failure of the thread itself is kept by #start
      const gone = new Promise((resolve) => worker.once('exit', resolve));
      Promise.race([this.#hand(worker, deviceFd, message, log), gone]).then(started, started);
    });
  }

  /**
   * If the process may open no more files or start no more threads, the mount continues with the threads that it has.
   */
  #unlessShort(log: Log, start: () => unknown): void {
    try {
      start();
    } catch (error) {
      log(`cannot start another thread: ${reasonOf(error)}`);
    }
  }

  async terminate(): Promise<void> {
    await Promise.all(this.#serving.map((worker) => worker.terminate()));
  }

  /** Resolves when the thread serves. */
  #hand(worker: Worker, deviceFd: number, message: MountMessage, log: Log): Promise<void> {
    return new Promise((resolve, reject) => {
      worker.on('message', (report: WorkerReport) => {
        if (report.type === 'serving') resolve();
        else if (report.type === 'ended') this.#firstEnds();
        else if (report.type === 'openings') this.#unlessShort(log, () => this.#fetchAhead(message));
        else if (report.type === 'working') this.#monitor?.wake();
        else if (report.type === 'deferred') this.#defer(report);
        else if (report.type === 'interrupted') this.#tellFetcher(report);
        else if (report.type === 'log') log(report.line, report.severity, report.about, report.event);
      });
      worker.once('error', reject);
      const fd = this.#share ? deviceFd : cloneDevice(deviceFd);
      const thread = this.#serving.indexOf(worker);
      this.#devices[thread] = fd;
      const restores = message.epoch > 0 && thread === 0;
      const serve: ServeMessage = { ...message, fd, ownsFd: fd !== deviceFd, restores, thread };
      worker.postMessage(serve);
    });
  }

  #startFetching(message: FetchMessage, log: Log, failed: () => void): void {
    const program = this.#fetchProgram;
    if (program === undefined) return;
    this.#unlessShort(log, () => {
      const fetcher = this.#start(program);
      this.#fetcher = fetcher;
      fetcher.on('message', (report: WorkerReport) => {
        if (report.type === 'log') log(report.line, report.severity, report.about, report.event);
        else if (report.type === 'answered') this.#waiting.answered(report);
      });
      fetcher.once('error', () => {
        this.#fetcher = undefined;
        failed();
        // no other server takes over
        this.#waiting.fail();
      });
      fetcher.postMessage(message);
    });
  }

  #defer(request: DeferredRequest): void {
    this.#waiting.add(request);
    if (this.#fetcher === undefined) this.#waiting.fail();
    else this.#tellFetcher(request);
  }

  #tellFetcher(order: FetchOrder): void {
    this.#fetcher?.postMessage(order);
  }

  #fetchAhead(message: MountMessage): void {
    if (this.#ahead !== undefined || this.#count === 1) return;
    this.#ahead = this.#start(this.#aheadProgram);
    this.#ahead.postMessage(message);
  }

  #startServing(): Worker {
    const worker = this.#start(this.#serveProgram);
    this.#serving.push(worker);
    this.#servingNow++;
    worker.once('exit', () => {
      if (--this.#servingNow === 0) this.#allServed();
    });
    return worker;
  }

  #start(program: string): Worker {
    const worker = new Worker(program, {
      eval: true,
      // descriptors cross threads: one opened for an OPEN in one thread is closed for its RELEASE in another
      trackUnmanagedFds: false,
    });
    this.#running++;
    worker.once('error', (error) => this.#failures.push(error.stack ?? error.message));
    worker.once('exit', () => {
      if (--this.#running === 0) this.#allEnded();
    });
    return worker;
  }
}
