/**
 * Content workers, and their queue. The work in flight is bounded: a caller that is faster than the disk waits in
 * `add`.
 */

import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { printable } from '../base/bytes.ts';
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { programPath } from '../base/installation.ts';
import { startThreads, threadError } from '../base/threads.ts';
import type { WriterStatistics } from '../store/object-writer.ts';
import {
  BATCH_BYTES,
  BATCH_FILES,
  type ContentResult,
  type Failed,
  type FromWorker,
  packJobs,
  type ToWorker,
  unpackResults,
  type WorkerSettings,
} from './content-job.ts';
import type { ObjectCheck } from './object-check.ts';
import type { OpenContent } from './source.ts';

/** Batches that are queued at each worker, so that it never waits for the main thread. */
export const DEPTH = 3;

export type OnResult = (index: number, result: ContentResult) => void;

/** One content in progress. */
interface Item {
  readonly index: number;
  readonly content: OpenContent;
  readonly path: Uint8Array;
}

interface Member {
  readonly worker: Worker;
  readonly inFlight: Map<number, readonly Item[]>;
  readonly exited: Promise<void>;
  statistics: WriterStatistics | undefined;
}

export interface PoolOptions extends Omit<WorkerSettings, 'prefix' | 'stop'> {
  readonly threads: number;
  /** Files of one batch, at most BATCH_FILES. */
  readonly batchFiles: number;
  /** The prefix of every temporary file of all workers. */
  readonly prefix: string;
}

export class ContentPool {
  readonly #members: readonly Member[];
  readonly #hash: HashAlgorithm;
  readonly #onResult: OnResult;
  readonly #batchFiles: number;
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));
  #waiting: Item[] = [];
  #bytes = 0;
  #serial = 0;
  #failure: unknown;
  #wake: (() => void) | undefined;

  /** @param onResult called on this thread with the index that was passed to `add` */
  constructor(options: PoolOptions, onResult: OnResult) {
    const { threads, prefix, batchFiles, ...settings } = options;
    this.#hash = settings.meta.hash;
    this.#batchFiles = Math.min(batchFiles, BATCH_FILES);
    this.#onResult = onResult;
    this.#members = startThreads(threads, (i) => {
      const worker = new Worker(programPath('cfs-pack-worker.js'), {
        workerData: { ...settings, prefix: `${prefix}${i}-`, stop: this.#stop } satisfies WorkerSettings,
        // descriptors cross threads here: one opened by the main thread is closed by a worker
        trackUnmanagedFds: false,
      });
      const exited = new Promise<void>((resolve) => {
        worker.once('exit', () => resolve());
      });
      const member: Member = { worker, inFlight: new Map(), exited, statistics: undefined };
      worker.on('message', (message: FromWorker) => this.#receive(member, message));
      worker.on('error', (error) => this.#fail(threadError(error)));
      return member;
    });
  }

  /** Lets the workers look for objects, before any contents that are added later. */
  check(check: ObjectCheck): void {
    this.#members.forEach(({ worker }, thread, { length: threads }) => {
      worker.postMessage({ type: 'check', check, thread, threads } satisfies ToWorker);
    });
  }

  /**
   * Takes ownership of one content and its descriptor.
   * @returns a promise to wait for if the workers are busy; it rejects with the first error of any worker
   */
  add(index: number, content: OpenContent, path: Uint8Array): Promise<void> | undefined {
    this.#waiting.push({ index, content, path });
    this.#bytes += content.state.size;
    if (this.#waiting.length < this.#batchFiles && this.#bytes < BATCH_BYTES) return undefined;
    return this.#submit();
  }

  /** Waits until no added file is open any more. */
  async drain(): Promise<void> {
    if (this.#waiting.length > 0) await this.#submit();
    await this.#until(() => this.#members.every((member) => member.inFlight.size === 0));
  }

  /** Waits for all added contents, and for the objects to have their names. */
  async finish(): Promise<WriterStatistics> {
    await this.drain();
    for (const { worker } of this.#members) worker.postMessage({ type: 'finish' } satisfies ToWorker);
    await this.#until(() => this.#members.every((member) => member.statistics !== undefined));
    const all = this.#members.map((member) => member.statistics as WriterStatistics);
    const sum = (key: keyof WriterStatistics): number => all.reduce((n, s) => n + s[key], 0);
    return { written: sum('written'), writtenBytes: sum('writtenBytes'), existing: sum('existing') };
  }

  /** Makes all present and future waiting here fail with `reason`. */
  abort(reason: unknown): void {
    this.#fail(reason);
  }

  /**
   * Ends the workers; active ones stop at the next file or MiB. They end by themselves: terminating a thread inside a
   * native call kills the process (SIGABRT, one time in five).
   */
  async close(): Promise<void> {
    Atomics.store(this.#stop, 0, 1);
    for (const { worker } of this.#members) worker.postMessage({ type: 'exit' } satisfies ToWorker);
    await Promise.all(this.#members.map(({ exited }) => exited));
    for (const { content } of this.#waiting) closeSync(content.fd);
    this.#waiting = [];
  }

  async #submit(): Promise<void> {
    const items = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    const idlest = (): Member =>
      this.#members.reduce((best, member) => (member.inFlight.size < best.inFlight.size ? member : best));
    await this.#until(() => idlest().inFlight.size < DEPTH);
    const member = idlest();
    const batch = packJobs(
      this.#serial++,
      items.map(({ content }) => content),
    );
    member.inFlight.set(batch.serial, items);
    member.worker.postMessage({ type: 'batch', batch } satisfies ToWorker);
  }

  async #until(condition: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (condition()) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #receive(member: Member, message: FromWorker): void {
    switch (message.type) {
      case 'failed':
        this.#fail(this.#errorOf(member, message));
        return;
      case 'finished':
        member.statistics = message.statistics;
        break;
      case 'done': {
        const items = member.inFlight.get(message.results.serial) as readonly Item[];
        member.inFlight.delete(message.results.serial);
        try {
          unpackResults(message.results, this.#hash).forEach((result, i) => {
            this.#onResult((items[i] as Item).index, result);
          });
        } catch (error) {
          this.#fail(error);
        }
      }
    }
    this.#wake?.();
  }

  #errorOf(member: Member, { kind, message, hint, stack, serial, job }: Failed): Error {
    const path = serial === undefined || job === undefined ? undefined : member.inFlight.get(serial)?.[job]?.path;
    const text = kind === 'source' && path !== undefined ? `Cannot pack ${printable(path)}: ${message}` : message;
    const error = kind === 'bug' ? new Error(text) : new CfsError(kind, text, { hint });
    if (stack !== undefined) error.stack = stack;
    return error;
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#wake?.();
  }
}
