/**
 * The lock of a repository: writers share it, whoever deletes objects holds it alone. It is flock(2) on
 * the file `lock`, so it ends with its process, however that ends.
 */
import { closeSync, fstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CfsError, reasonOf } from '../base/error.ts';
import { openSync, readdirSync, unlinkSync } from './file-calls.ts';
import { type FlockMode, tryLock } from './flock.ts';
import { type LocalRepository, makeDirectory } from './local.ts';

const POLL_MS = 50;
/** Who waits longer is told what for. */
const SILENT_MS = 1000;

/** A lock that is held until `release`, which may be called again, or the end of the process. */
export interface RepositoryLock {
  release(): void;
}

/** How to wait for a lock. */
export interface LockWait {
  /** Ends the waiting; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** Called once, with a line for people, where it takes more than a second. */
  readonly onWait?: ((line: string) => void) | undefined;
}

/**
 * Takes the shared lock of a writer; waits while somebody deletes objects. Where nobody else writes, the
 * files that killed writers left in tmp/ are removed first.
 * @throws CfsError (store) where the lock file cannot be opened for writing, as in a read-only repository
 */
export function lockForWriting(
  repository: LocalRepository,
  signal?: AbortSignal,
  onWait?: (line: string) => void,
): Promise<RepositoryLock> {
  return lock(repository, 'a', 'shnb', { signal, onWait }, (fd) => {
    if (tryLock(fd, 'exnb')) removeLeftovers(repository);
  });
}

/**
 * Takes the lock of who deletes objects; waits for all who write.
 * @throws CfsError (store)
 */
export function lockForDeleting(repository: LocalRepository, wait: LockWait = {}): Promise<RepositoryLock> {
  return lock(repository, 'a', 'exnb', wait);
}

/**
 * Takes the shared lock of who only keeps objects from being deleted; needs no right to write.
 * @throws CfsError (store)
 */
export function lockAgainstDeleting(repository: LocalRepository, wait: LockWait = {}): Promise<RepositoryLock> {
  return lock(repository, 'r', 'shnb', wait);
}

/**
 * Takes the lock of who moves damaged objects away and puts good ones in their place: one at a time. Beside the shared
 * lock, so that nobody deletes meanwhile.
 * @throws CfsError (store)
 */
export async function lockForRepair(repository: LocalRepository, wait: LockWait = {}): Promise<RepositoryLock> {
  const writing = await lockForWriting(repository, wait.signal, wait.onWait);
  try {
    makeDirectory(repository.quarantineDirectory);
    const alone = await lock(repository, 'r', 'exnb', wait, undefined, repository.quarantineDirectory);
    return {
      release: () => {
        alone.release();
        writing.release();
      },
    };
  } catch (error) {
    writing.release();
    if (error instanceof CfsError) throw error;
    throw new CfsError('store', `Cannot write to repository ${repository.path}: quarantine: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

async function lock(
  repository: LocalRepository,
  flags: 'a' | 'r',
  mode: FlockMode,
  { signal, onWait }: LockWait,
  before?: (fd: number) => void,
  path: string = repository.lockPath,
): Promise<RepositoryLock> {
  let fd: number;
  try {
    fd = openSync(path, flags);
  } catch (error) {
    const what = flags === 'a' ? 'write to' : 'lock';
    throw new CfsError('store', `Cannot ${what} repository ${repository.path}: lock: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  try {
    before?.(fd);
    // flock(2) itself would wait without hearing signals
    for (let waited = 0; !tryLock(fd, mode); waited += POLL_MS) {
      if (waited === SILENT_MS) onWait?.(`waiting for ${path}, which ${holderOf(fd)} has locked`);
      await sleep(POLL_MS);
      if (signal?.aborted === true) throw signal.reason;
    }
  } catch (error) {
    closeSync(fd);
    if (error instanceof CfsError) throw error;
    throw new CfsError('store', `Cannot lock repository ${repository.path}: ${reasonOf(error)}`, { cause: error });
  }
  let isHeld = true;
  return {
    release: () => {
      if (isHeld) closeSync(fd);
      isHeld = false;
    },
  };
}

/** Who holds the lock, as proc_locks(5) has it: "1: FLOCK  ADVISORY  WRITE 1234 08:02:5678 0 EOF". */
function holderOf(fd: number): string {
  try {
    const { ino } = fstatSync(fd);
    const line = new RegExp(`FLOCK +ADVISORY +(?:WRITE|READ) +(\\d+) [0-9a-f]+:[0-9a-f]+:${ino} `);
    const pid = line.exec(readFileSync('/proc/locks', 'utf8'))?.[1];
    if (pid !== undefined && pid !== '0') return `process ${pid}`;
  } catch {
    // no /proc: the lock's path has to do
  }
  return 'another process';
}

/**
 * Deletes all files in tmp/. Only while nobody else writes.
 * @returns how many
 * @throws CfsError (store)
 */
export function removeLeftovers(repository: LocalRepository): number {
  const directory = repository.temporaryDirectory;
  try {
    const names = readdirSync(directory);
    for (const name of names) unlinkSync(join(directory, name));
    return names.length;
  } catch (error) {
    throw new CfsError('store', `Cannot clean ${directory}: ${reasonOf(error)}`, { cause: error });
  }
}
