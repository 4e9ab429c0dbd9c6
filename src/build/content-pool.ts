/**
 * Content workers, and the queue before them. What is in flight is bounded: a caller that is faster than
 * the disk waits in `submit`.
 */
import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { CfsError } from '../error.ts';
import type { WriterStatistics } from '../store/object-writer.ts';
import type { ContentJob, ContentResult, FromWorker, ToWorker, WorkerSettings } from './content-job.ts';

const BATCH_JOBS = 64;
const BATCH_BYTES = 4 << 20;
/** Batches that wait at one worker, so that it never waits for the main thread. */
const DEPTH = 2;

export type OnResult = (index: number, result: ContentResult) => void;

interface Batch {
  readonly serial: number;
  readonly indexes: readonly number[];
  readonly jobs: readonly ContentJob[];
}

interface Member {
  readonly worker: Worker;
  readonly inFlight: Map<number, Batch>;
  statistics: WriterStatistics | undefined;
}

export class ContentPool {
  readonly #members: Member[] = [];
  readonly #onResult: OnResult;
  #indexes: number[] = [];
  #jobs: ContentJob[] = [];
  #bytes = 0;
  #serial = 0;
  #failure: unknown;
  #wake: (() => void) | undefined;

  /** @param onResult called on this thread with the index that `add` was given */
  constructor(threads: number, settings: Omit<WorkerSettings, 'prefix'>, prefix: string, onResult: OnResult) {
    this.#onResult = onResult;
    for (let i = 0; i < threads; i++) {
      const worker = new Worker(new URL('./content-worker.js', import.meta.url), {
        workerData: { ...settings, prefix: `${prefix}${i}-` } satisfies WorkerSettings,
        // descriptors cross threads here: one opened by the main thread is closed by a worker
        trackUnmanagedFds: false,
      });
      const member: Member = { worker, inFlight: new Map(), statistics: undefined };
      worker.on('message', (message: FromWorker) => this.#receive(member, message));
      worker.on('error', (error) => this.#fail(error));
      this.#members.push(member);
    }
  }

  /** Queues one content; waits while the workers have enough to do. Rejects with the first error of any worker. */
  add(index: number, job: ContentJob): Promise<void> | undefined {
    this.#indexes.push(index);
    this.#jobs.push(job);
    this.#bytes += job.size;
    if (this.#jobs.length < BATCH_JOBS && this.#bytes < BATCH_BYTES) return undefined;
    return this.#submit();
  }

  /** Waits for everything that was added, and for the objects to lie under their names. */
  async finish(): Promise<WriterStatistics> {
    if (this.#jobs.length > 0) await this.#submit();
    await this.#until(() => this.#members.every((member) => member.inFlight.size === 0));
    for (const { worker } of this.#members) worker.postMessage({ type: 'finish' } satisfies ToWorker);
    await this.#until(() => this.#members.every((member) => member.statistics !== undefined));
    const all = this.#members.map((member) => member.statistics as WriterStatistics);
    const sum = (key: keyof WriterStatistics): number => all.reduce((n, s) => n + s[key], 0);
    return { written: sum('written'), writtenBytes: sum('writtenBytes'), existing: sum('existing') };
  }

  /** Stops the workers wherever they are. */
  async close(): Promise<void> {
    await Promise.all(this.#members.map(({ worker }) => worker.terminate()));
    for (const job of this.#jobs) closeSync(job.fd);
    this.#jobs = [];
  }

  async #submit(): Promise<void> {
    const batch: Batch = { serial: this.#serial++, indexes: this.#indexes, jobs: this.#jobs };
    this.#indexes = [];
    this.#jobs = [];
    this.#bytes = 0;
    const free = (): Member | undefined =>
      this.#members
        .filter((member) => member.inFlight.size < DEPTH)
        .sort((a, b) => a.inFlight.size - b.inFlight.size)[0];
    await this.#until(() => free() !== undefined);
    const member = free() as Member;
    member.inFlight.set(batch.serial, batch);
    member.worker.postMessage({ type: 'batch', serial: batch.serial, jobs: batch.jobs } satisfies ToWorker);
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
    if (message.type === 'failed') {
      const { kind, message: text, stack } = message;
      const error = kind === 'bug' ? new Error(text) : new CfsError(kind, text);
      if (stack !== undefined) error.stack = stack;
      this.#fail(error);
      return;
    }
    if (message.type === 'finished') member.statistics = message.statistics;
    else {
      const batch = member.inFlight.get(message.serial) as Batch;
      member.inFlight.delete(message.serial);
      message.results.forEach((result, i) => {
        this.#onResult(batch.indexes[i] as number, result);
      });
    }
    this.#wake?.();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#wake?.();
  }
}
