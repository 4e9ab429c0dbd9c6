/** Runs threads that put objects into a repository; each takes the next work by itself. */
import { Worker } from 'node:worker_threads';
import { CfsError, type ErrorKind, reasonOf } from '../base/error.ts';
import { type PROGRAMS, programPath } from '../base/installation.ts';
import { startThreads, threadError } from '../base/threads.ts';
import type { LocalRepository, Meta } from '../store/local-repository.ts';
import type { Place } from '../store/store-directory.ts';

/** A repository as plain data. */
export interface RepositoryData {
  readonly path: string;
  readonly meta: Meta;
  readonly place: Place | undefined;
}

export const dataOf = ({ path, hash, uuid, place }: LocalRepository): RepositoryData => ({
  path,
  meta: { hash, uuid },
  place,
});

/** The startup data that every thread gets. */
export interface ThreadSettings {
  readonly thread: number;
  /** In shared memory: the next work, and 1 to request a stop. */
  readonly turn: Int32Array;
  /** In shared memory, `COUNTS` numbers for each thread. */
  readonly counts: Float64Array;
}

/** Numbers of each thread: objects that were there, that were copied, and their bytes; all bytes that are done. */
export const COUNTS = 4;
const EXISTING = 0;
const COPIED = 1;
const COPIED_BYTES = 2;
const DONE_BYTES = 3;

/** An object that is not in the target, because no source has a good copy. */
export interface CopyFailure {
  /** Hexadecimal. */
  readonly object: string;
  readonly problem: string;
}

export type CopyMessage =
  | { readonly type: 'failure'; readonly failure: CopyFailure }
  | {
      readonly type: 'failed';
      readonly kind: ErrorKind | 'bug';
      readonly message: string;
      readonly hint?: string | undefined;
    };

export interface CopyProgress {
  /** Objects and bytes that are in the target now, of those that were requested. */
  readonly objects: number;
  readonly bytes: number;
}

export interface CopiedObjects {
  readonly existing: number;
  readonly copied: number;
  readonly copiedBytes: number;
  readonly failures: readonly CopyFailure[];
}

export interface ThreadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
}

const PROGRESS_MS = 100;

/**
 * Starts threads with a program, and waits until all have ended. They post `CopyMessage`. To stop them, `turn[1]` is
 * set and a message is sent to each.
 * @param settingsOf the startup data of a thread, beside `ThreadSettings`
 * @throws CfsError: as a thread reports; the reason of the signal
 */
export async function runCopyThreads(
  program: keyof typeof PROGRAMS,
  threads: number,
  settingsOf: (thread: number) => object,
  { signal, onProgress }: ThreadOptions,
): Promise<CopiedObjects> {
  const turn = new Int32Array(new SharedArrayBuffer(8));
  const counts = new Float64Array(new SharedArrayBuffer(8 * COUNTS * threads));
  const failures: CopyFailure[] = [];
  const workers: Worker[] = [];
  let failure: Error | undefined;
  const stop = (): void => {
    Atomics.store(turn, 1, 1);
    for (const worker of workers) worker.postMessage('stop');
  };
  const fail = (error: Error): void => {
    failure ??= error;
    stop();
  };
  const sum = (what: number): number => counts.reduce((total, n, i) => (i % COUNTS === what ? total + n : total), 0);
  const ends = startThreads(threads, (thread) => {
    const workerData = { ...settingsOf(thread), thread, turn, counts } satisfies ThreadSettings;
    // they end by themselves: terminating a thread inside a native call kills the process
    const worker = new Worker(programPath(program), { workerData, trackUnmanagedFds: false });
    workers.push(worker);
    worker.on('message', (message: CopyMessage) => {
      if (message.type === 'failure') failures.push(message.failure);
      else fail(errorOf(message));
    });
    worker.on('error', (error) => fail(threadError(error)));
    return new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  });
  signal?.addEventListener('abort', stop);
  const report = (): void => onProgress?.({ objects: sum(EXISTING) + sum(COPIED), bytes: sum(DONE_BYTES) });
  const timer = setInterval(report, PROGRESS_MS);
  try {
    await Promise.all(ends);
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', stop);
  }
  signal?.throwIfAborted();
  if (failure !== undefined) throw failure;
  return { existing: sum(EXISTING), copied: sum(COPIED), copiedBytes: sum(COPIED_BYTES), failures };
}

/** A copy of an array in shared memory. */
export function shared<T extends Uint8Array | Uint32Array | Float64Array>(values: T): T {
  const bytes = new Uint8Array(new SharedArrayBuffer(values.byteLength));
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return new (values.constructor as new (buffer: ArrayBufferLike) => T)(bytes.buffer);
}

/** For a thread: the message about an error that ended its work. */
export function failedMessage(error: unknown): CopyMessage {
  const kind = error instanceof CfsError ? error.kind : 'bug';
  const message = kind === 'bug' && error instanceof Error ? (error.stack ?? error.message) : reasonOf(error);
  return { type: 'failed', kind, message, hint: error instanceof CfsError ? error.hint : undefined };
}

/** For a thread: counts an object that is in the target. @param counts its own numbers */
export function countObject(counts: Float64Array, size: number, isNew: boolean): void {
  const add = (what: number, n: number): void => {
    counts[what] = (counts[what] as number) + n;
  };
  add(isNew ? COPIED : EXISTING, 1);
  if (isNew) add(COPIED_BYTES, size);
  add(DONE_BYTES, size);
}

const errorOf = ({ kind, message, hint }: CopyMessage & { type: 'failed' }): Error =>
  kind === 'bug' ? new Error(message) : new CfsError(kind, message, { hint });
