/** What all functions that work on a repository take. */
import type { HashAlgorithm } from '../base/digest.ts';

/**
 * A repository: a directory that holds objects. Functions take its path as well.
 * @example
 * import { openRepository, type Repository } from 'cfs/store';
 *
 * const { path, hash }: Repository = openRepository('/srv/store');
 * console.log(path, hash);
 */
export interface Repository {
  /** Absolute. */
  readonly path: string;
  readonly uuid: string;
  /** How it names objects. */
  readonly hash: HashAlgorithm;
}

/**
 * What all long work on a repository can be given.
 * @example
 * import { collectGarbage, type WorkOptions } from 'cfs/store';
 *
 * const options: WorkOptions = { signal: AbortSignal.timeout(60_000), onWait: (line) => console.error(line) };
 * await collectGarbage('/srv/store', { ...options, dryRun: true });
 */
export interface WorkOptions {
  /** Ends the work: it rejects with a CfsError (interrupted). What was done stays. */
  readonly signal?: AbortSignal;
  /** Called with a line for people where another program keeps the repository locked for more than a second. */
  readonly onWait?: (line: string) => void;
}
