/** Threads that check all objects of a repository. Each takes the next of the 256 directories after finishing one. */

import { Worker } from 'node:worker_threads';
import { CfsError, type ErrorKind } from '../../base/error.ts';
import { programPath } from '../../base/installation.ts';
import { startThreads, threadError } from '../../base/threads.ts';
import { openFilesLimit } from '../../system/resource-limits.ts';
import { PREFIXES } from '../layout.ts';
import type { LocalRepository, Meta } from '../local-repository.ts';
import type { Place } from '../store-directory.ts';
import type { Damage, Oddity } from './check-directory.ts';

/** The startup data of a thread. */
export interface CheckSettings {
  readonly path: string;
  readonly meta: Meta;
  readonly place: Place | undefined;
  /** Names of good roots, whose objects must all exist. */
  readonly roots: readonly string[];
  readonly thread: number;
  /** In shared memory: the next directory; 1 requests a stop. */
  readonly turn: Int32Array;
  /** In shared memory, for each thread: objects and bytes that it has checked. */
  readonly done: Float64Array;
}

export type CheckMessage =
  | { readonly type: 'damage'; readonly damage: Damage }
  | { readonly type: 'oddity'; readonly oddity: Oddity }
  | { readonly type: 'failed'; readonly kind: ErrorKind | 'bug'; readonly message: string; readonly stack?: string };

export interface CheckProgress {
  readonly objects: number;
  readonly bytes: number;
  /** The number of directories, of the 256, that were begun. */
  readonly directories: number;
}

export interface CheckedObjects extends CheckProgress {
  readonly damage: readonly Damage[];
  readonly oddities: readonly Oddity[];
}

const PROGRESS_MS = 100;

/**
 * Checks every object.
 * @param roots names of good roots, whose objects must all exist
 * @param threads 1 or more
 * @param signal ends the work; its reason is thrown
 * @throws CfsError (store) if a directory cannot be read
 */
export async function checkAll(
  repository: LocalRepository,
  roots: readonly string[],
  threads: number,
  signal?: AbortSignal,
  onProgress?: (progress: CheckProgress) => void,
): Promise<CheckedObjects> {
  const turn = new Int32Array(new SharedArrayBuffer(8));
  const done = new Float64Array(new SharedArrayBuffer(16 * threads));
  const damage: Damage[] = [];
  const oddities: Oddity[] = [];
  let failure: Error | undefined;
  const stop = (): void => void Atomics.store(turn, 1, 1);
  const fail = (error: Error): void => {
    failure ??= error;
    stop();
  };
  const receive = (message: CheckMessage): void => {
    if (message.type === 'damage') damage.push(message.damage);
    else if (message.type === 'oddity') oddities.push(message.oddity);
    else fail(errorOf(message));
  };
  const progress = (): CheckProgress => ({
    objects: done.filter((_, i) => i % 2 === 0).reduce((sum, n) => sum + n, 0),
    bytes: done.filter((_, i) => i % 2 === 1).reduce((sum, n) => sum + n, 0),
    directories: Math.min(turn[0] as number, PREFIXES),
  });
  const { path, place, hash, uuid } = repository;
  const ends = startThreads(threadsFor(roots.length, threads), (thread) => {
    const workerData: CheckSettings = { path, place, meta: { hash, uuid }, roots, thread, turn, done };
    // they end by themselves: terminating a thread inside a native call kills the process
    const worker = new Worker(programPath('cfs-check-worker.js'), { workerData, trackUnmanagedFds: false });
    worker.on('message', receive);
    worker.on('error', (error) => fail(threadError(error)));
    return new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  });
  signal?.addEventListener('abort', stop);
  const timer = setInterval(() => onProgress?.(progress()), PROGRESS_MS);
  try {
    await Promise.all(ends);
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', stop);
  }
  if (signal?.aborted === true) throw signal.reason;
  if (failure !== undefined) throw failure;
  return { ...progress(), damage, oddities };
}

/** Files that node and a thread have open besides lists: directories, an object, an event loop. */
const FIXED_FILES = 48;
const THREAD_FILES = 12;

/** Each thread has every list open: there are fewer threads if the process may not have so many files open. */
function threadsFor(lists: number, threads: number): number {
  const room = Math.floor((openFilesLimit() - FIXED_FILES) / (lists + THREAD_FILES));
  return Math.max(1, Math.min(threads, room));
}

function errorOf({ kind, message, stack }: CheckMessage & { type: 'failed' }): Error {
  const error = kind === 'bug' ? new Error(message) : new CfsError(kind, message);
  if (stack !== undefined) error.stack = stack;
  return error;
}
