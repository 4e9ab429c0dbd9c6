/** Plans the number of files that packing keeps open, within the limit of the process (`ulimit -n`). Pure. */
import { CfsError } from '../base/error.ts';

export interface OpenFilesPlan {
  /** Threads that read and hash; fewer than requested if there is no room. */
  readonly threads: number;
  /** Files per batch: each thread has some batches, with their files open. */
  readonly batchFiles: number;
  /** Directories of the source on the current path. */
  readonly sourceDirectories: number;
  /** Directories of the repository that each thread keeps open. */
  readonly storeDirectories: number;
}

/** Files that each thread has open in addition: its event loop, and the file that it writes. */
const THREAD_FILES = 10;
/**
 * Files of the main thread: those of node itself, of the repository's lock, of the terminal, and some that were
 * inherited.
 */
const FIXED_FILES = 48;

/** With these limits no thread waits for another. */
export const MOST_OPEN_FILES = { batchFiles: 64, sourceDirectories: 128, storeDirectories: 256 };
/** With these limits it still works. */
const LEAST = { batchFiles: 1, sourceDirectories: 4, storeDirectories: 2 };

const neededFor = (
  { threads, batchFiles, sourceDirectories, storeDirectories }: OpenFilesPlan,
  depth: number,
): number =>
  FIXED_FILES +
  sourceDirectories +
  threads * (THREAD_FILES + storeDirectories) +
  // the batches at the threads, and the one that is being filled
  batchFiles * (threads * depth + 1);

/**
 * Divides the files that the process may have open. Batches are reduced last, because they keep the threads busy.
 * @param limit the number of files that the process may have open
 * @param threads the requested number of threads
 * @param depth batches that are queued at each thread
 * @throws CfsError (system) if not even one thread can work
 */
export function planOpenFiles(limit: number, threads: number, depth: number): OpenFilesPlan {
  for (let n = threads; n >= 1; n = Math.floor(n / 2)) {
    const plan = { threads: n, ...LEAST };
    const room = limit - neededFor(plan, depth);
    if (room < 0) continue;
    const grow = (share: number, least: number, best: number, each: number): number =>
      Math.min(best, least + Math.floor((room * share) / each));
    return {
      threads: n,
      batchFiles: grow(0.5, LEAST.batchFiles, MOST_OPEN_FILES.batchFiles, n * depth + 1),
      sourceDirectories: grow(0.2, LEAST.sourceDirectories, MOST_OPEN_FILES.sourceDirectories, 1),
      storeDirectories: grow(0.3, LEAST.storeDirectories, MOST_OPEN_FILES.storeDirectories, n),
    };
  }
  const least = neededFor({ threads: 1, ...LEAST }, depth);
  throw new CfsError('system', `Cannot pack: this process may have ${limit} files open, and needs ${least}`, {
    hint: "Raise the limit ('ulimit -n', LimitNOFILE= of a unit, ulimit nofile of a container).",
  });
}
