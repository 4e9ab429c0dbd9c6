/** Threads that copy objects from repositories into another one: only those that it does not have, verified. */
import { randomBytes } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { CfsError, type ErrorKind } from '../base/error.ts';
import { programPath } from '../base/installation.ts';
import { startThreads, threadError } from '../base/threads.ts';
import type { LocalRepository, Meta } from '../store/local-repository.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import type { Place } from '../store/store-directory.ts';

/** A repository as plain data. */
export interface RepositoryData {
  readonly path: string;
  readonly meta: Meta;
  readonly place: Place | undefined;
}

/** The startup data of a thread. */
export interface CopySettings {
  readonly target: RepositoryData;
  /** Searched in this order. */
  readonly sources: readonly RepositoryData[];
  /** 32 bytes each. */
  readonly digests: Uint8Array;
  readonly sizes: Float64Array;
  readonly durable: boolean;
  /** Of temporary names; unique to the thread. */
  readonly prefix: string;
  readonly thread: number;
  /** In shared memory: the next object, and 1 to request a stop. */
  readonly turn: Int32Array;
  /** In shared memory, `COUNTS` numbers for each thread. */
  readonly counts: Float64Array;
}

/** Numbers of each thread: objects that were there, that were copied, and their bytes; all bytes that are done. */
export const COUNTS = 4;
export const EXISTING = 0;
export const COPIED = 1;
export const COPIED_BYTES = 2;
export const DONE_BYTES = 3;
/** Objects that a thread takes at a time. */
export const TAKEN: number = 32;

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

export interface CopyOptions {
  readonly threads: number;
  readonly durable: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
}

/** Objects by digest: 32 bytes each, and their sizes. */
export interface ObjectList {
  readonly digests: Uint8Array;
  readonly sizes: Float64Array;
}

const PROGRESS_MS = 100;

/**
 * Copies objects. Hold the lock of a writer of the target. If the work is stopped, what was copied stays.
 * @throws CfsError (store) if the target cannot be written; the reason of the signal
 */
export async function copyObjects(
  sources: readonly LocalRepository[],
  target: LocalRepository,
  { digests, sizes }: ObjectList,
  { threads, durable, signal, onProgress }: CopyOptions,
): Promise<CopiedObjects> {
  const turn = new Int32Array(new SharedArrayBuffer(8));
  const counts = new Float64Array(new SharedArrayBuffer(8 * COUNTS * threads));
  const run = randomBytes(8).toString('hex');
  const failures: CopyFailure[] = [];
  let failure: Error | undefined;
  const stop = (): void => void Atomics.store(turn, 1, 1);
  const fail = (error: Error): void => {
    failure ??= error;
    stop();
  };
  const sum = (what: number): number => counts.reduce((total, n, i) => (i % COUNTS === what ? total + n : total), 0);
  const shared = { digests: inShared(digests), sizes: new Float64Array(inShared(sizes).buffer) };
  const wanted = Math.max(1, Math.min(threads, Math.ceil(sizes.length / TAKEN)));
  const ends = startThreads(wanted, (thread) => {
    const workerData: CopySettings = {
      target: dataOf(target),
      sources: sources.map(dataOf),
      ...shared,
      durable,
      prefix: `${run}-${thread}-`,
      thread,
      turn,
      counts,
    };
    // they end by themselves: terminating a thread inside a native call kills the process
    const worker = new Worker(programPath('cfs-copy-worker.js'), { workerData, trackUnmanagedFds: false });
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
  if (durable && sum(COPIED) > 0) syncNames(target, run);
  return { existing: sum(EXISTING), copied: sum(COPIED), copiedBytes: sum(COPIED_BYTES), failures };
}

const dataOf = ({ path, hash, uuid, place }: LocalRepository): RepositoryData => ({
  path,
  meta: { hash, uuid },
  place,
});

function inShared(values: Uint8Array | Float64Array): Uint8Array {
  const bytes = new Uint8Array(new SharedArrayBuffer(values.byteLength));
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return bytes;
}

/** The batches were synced before their renames; this syncs the names themselves. */
function syncNames(repository: LocalRepository, prefix: string): void {
  const writer = new ObjectWriter(repository, { durable: true, prefix });
  try {
    writer.sync();
  } finally {
    writer.close();
  }
}

const errorOf = ({ kind, message, hint }: CopyMessage & { type: 'failed' }): Error =>
  kind === 'bug' ? new Error(message) : new CfsError(kind, message, { hint });
