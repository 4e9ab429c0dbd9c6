/** Repositories as arguments of functions. */
import type { HashAlgorithm } from '../base/digest.ts';

/**
 * A repository: a directory that holds objects. Functions take its path as well.
 * @example
 * import { openRepository, type Repository } from '@cfs-images/cfs/store';
 *
 * const { path, hash }: Repository = openRepository('/srv/store');
 * console.log(path, hash);
 */
export interface Repository {
  /** Absolute. */
  readonly path: string;
  readonly uuid: string;
  /** The algorithm that names its objects. */
  readonly hash: HashAlgorithm;
}

/**
 * Options of all long work on a repository.
 * @example
 * import { collectGarbage, type WorkOptions } from '@cfs-images/cfs/store';
 *
 * const options: WorkOptions = { signal: AbortSignal.timeout(60_000), onWait: (line) => console.error(line) };
 * await collectGarbage('/srv/store', { ...options, dryRun: true });
 */
export interface WorkOptions {
  /** Aborts the work, which then rejects with a CfsError (interrupted). Finished parts are kept. */
  readonly signal?: AbortSignal;
  /** Called with a line for people if another program keeps the repository locked for more than a second. */
  readonly onWait?: (line: string) => void;
}

/**
 * Numbers of objects; `diskBytes` is what the file system has allocated for them.
 * @example
 * import { type Amount, collectGarbage } from '@cfs-images/cfs/store';
 *
 * const text = ({ objects, bytes }: Amount): string => `${objects} objects, ${bytes} bytes`;
 * console.log(text((await collectGarbage('/srv/store', { dryRun: true })).kept));
 */
export interface Amount {
  readonly objects: number;
  readonly bytes: number;
  readonly diskBytes: number;
}

/** The default of `minAgeMs`. */
export const HOUR_MS = 3_600_000;

/** Without unknown ones. */
export const pathsOf = (paths: readonly { readonly path: string }[]): string[] =>
  paths.flatMap(({ path }) => (path === '' ? [] : [path]));
