/** Treatment of paths, repositories and signals in all functions of the library. */
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { openRepository } from '../store/open-repository.ts';
import type { Repository } from './repository.ts';

/**
 * Half of a character: base/path-text.ts uses it for a byte that is not UTF-8, and node:fs would write it as U+FFFD.
 */
const SURROGATE = /\p{Surrogate}/u;

/**
 * A path of this machine, unchanged.
 * @param what names it in the message
 * @throws CfsError (usage) if it is empty, or node:fs would take it for another one
 */
export function pathGiven(what: string, path: string): string {
  const reason =
    typeof path !== 'string' || path === ''
      ? 'a path that is not empty is needed'
      : SURROGATE.test(path)
        ? 'paths must be UTF-8'
        : path.includes('\0')
          ? 'a path with a NUL byte'
          : undefined;
  if (reason === undefined) return path;
  throw new CfsError('usage', `Cannot use ${what} ${JSON.stringify(path) ?? 'undefined'}: ${reason}`);
}

/** The path of a repository. @throws CfsError (usage) if it is none */
export const repositoryPath = (repository: string | Repository): string =>
  pathGiven('repository', typeof repository === 'string' ? repository : repository?.path);

/**
 * The store's own view of a repository.
 * @param hash the algorithm that it must have
 * @throws CfsError (store)
 */
export const localOf = (repository: string | Repository, hash?: HashAlgorithm): LocalRepository =>
  openRepository(repositoryPath(repository), hash);

/** Runs `work`, which throws the reason of `signal` if it is aborted: that becomes a CfsError (interrupted). */
export async function abortable<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  try {
    signal?.throwIfAborted();
    return await work();
  } catch (error) {
    if (signal?.aborted !== true || error !== signal.reason) throw error;
    throw stopped(error);
  }
}

/** For work that is not a promise. @throws CfsError (interrupted) if the signal is aborted */
export function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw stopped(signal.reason);
}

/** An error for the reason of a signal; a reason of this kind stays as it is. */
const stopped = (reason: unknown): CfsError =>
  reason instanceof CfsError ? reason : new CfsError('interrupted', `Stopped: ${reasonOf(reason)}`, { cause: reason });

/** `options` without the keys that are undefined: for functions that distinguish them from missing keys. */
export function given<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** An age in milliseconds. @throws CfsError (usage): with NaN, for example, nothing would be young */
export function ageGiven(minAgeMs: number): number {
  if (typeof minAgeMs === 'number' && minAgeMs >= 0) return minAgeMs;
  throw new CfsError('usage', `minAgeMs is a number of milliseconds, not ${String(minAgeMs)}`);
}
