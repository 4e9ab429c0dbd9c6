/**
 * The lock of a repository: writers share it, deleting objects takes it exclusively. It is flock(2) on the file `lock`,
 * so it ends with its process, however that ends.
 */
import { closeSync, constants, fstatSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { type FlockMode, tryLock } from '../system/flock.ts';
import type { LocalRepository } from './local-repository.ts';
import { giveTo, type Lockers, lockersOf, narrow } from './lockable.ts';
import { isRegular, type StoreDirectory } from './store-directory.ts';
import { requireTrust } from './trust.ts';

const POLL_MS = 50;
/** The file in the repository's directory; also the one in quarantine/. */
export const LOCK = 'lock';
/** After this long, report what is being waited for. */
const SILENT_MS = 1000;

/** A lock that is held until `release`, which may be called again, or the end of the process. */
export interface RepositoryLock {
  release(): void;
}

/** How to wait for a lock. */
export interface LockWait {
  /** Ends the waiting; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** Called once, with a line for people, if waiting takes more than a second. */
  readonly onWait?: ((line: string) => void) | undefined;
  /** Gives up after this time; never by default. */
  readonly limitMs?: number | undefined;
}

/**
 * Takes the shared lock of a writer; waits while objects are being deleted. If there is no other writer, the files that
 * killed writers left in tmp/ are removed first.
 * @throws CfsError (store) if the lock file cannot be opened for writing, as in a read-only repository
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
 * Takes the exclusive lock for deleting objects; waits for all writers.
 * @throws CfsError (store)
 */
export function lockForDeleting(repository: LocalRepository, wait: LockWait = {}): Promise<RepositoryLock> {
  return lock(repository, 'a', 'exnb', wait);
}

/**
 * Takes the shared lock only to keep objects from being deleted; needs no write permission.
 * @throws CfsError (store)
 */
export function lockAgainstDeleting(repository: LocalRepository, wait: LockWait = {}): Promise<RepositoryLock> {
  return lock(repository, 'r', 'shnb', wait);
}

/**
 * Takes the lock for moving damaged objects away and putting good ones in their place: one process at a time. It is
 * taken in addition to the shared lock, so that nothing is deleted during the repair.
 * @throws CfsError (store)
 */
export async function lockForRepair(repository: LocalRepository, wait: LockWait = {}): Promise<RepositoryLock> {
  const writing = await lockForWriting(repository, wait.signal, wait.onWait);
  try {
    const alone = await lock(repository, 'a', 'exnb', wait, undefined, 'quarantine');
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

/** @param below the directory of the lock, which is created if it is missing; undefined: the repository's own */
function openLock(repository: LocalRepository, flags: 'a' | 'r', below?: string): number {
  const root = repository.enter();
  try {
    if (flags === 'r') return root.openFile(LOCK);
    requireTrust(root);
    const directory = below === undefined ? root : root.make(below);
    try {
      return openToWrite(directory, lockersOf(root));
    } finally {
      if (directory !== root) directory.close();
    }
  } finally {
    root.close();
  }
}

const WRITE = constants.O_WRONLY | constants.O_APPEND;

function openToWrite(directory: StoreDirectory, lockers: Lockers): number {
  let fd: number;
  let settle = narrow;
  try {
    fd = directory.openFile(LOCK, WRITE);
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw error;
    fd = directory.openFile(LOCK, WRITE | constants.O_CREAT, 0o600);
    settle = giveTo;
  }
  try {
    settle(fd, lockers);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

async function lock(
  repository: LocalRepository,
  flags: 'a' | 'r',
  mode: FlockMode,
  { signal, onWait, limitMs = Number.POSITIVE_INFINITY }: LockWait,
  before?: (fd: number) => void,
  below?: string,
): Promise<RepositoryLock> {
  const path = [repository.path, ...(below === undefined ? [] : [below]), LOCK].join('/');
  let fd: number;
  try {
    fd = openLock(repository, flags, below);
  } catch (error) {
    if (error instanceof CfsError) throw error;
    const what = flags === 'a' ? 'write to' : 'lock';
    throw new CfsError('store', `Cannot ${what} repository ${repository.path}: lock: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  try {
    before?.(fd);
    // flock(2) itself would block without noticing signals
    for (let waited = 0; !tryLock(fd, mode); waited += POLL_MS) {
      if (waited === SILENT_MS) onWait?.(`waiting for ${path}, which ${holderOf(fd)} has locked`);
      if (waited >= limitMs) {
        throw new CfsError(
          'store',
          `Cannot lock repository ${repository.path}: ${holderOf(fd)} has had it locked for ${limitMs / 1000} s`,
        );
      }
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

/** The holder of the lock, in the format of proc_locks(5): "1: FLOCK  ADVISORY  WRITE 1234 08:02:5678 0 EOF". */
function holderOf(fd: number): string {
  try {
    const { ino } = fstatSync(fd);
    const line = new RegExp(`FLOCK +ADVISORY +(?:WRITE|READ) +(\\d+) [0-9a-f]+:[0-9a-f]+:${ino} `);
    const pid = line.exec(readFileSync('/proc/locks', 'utf8'))?.[1];
    if (pid !== undefined && pid !== '0') return `process ${pid}`;
  } catch {
    // no /proc: the message names the lock's path instead
  }
  return 'another process';
}

/** Names that writers use in tmp/: they begin with 16 random digits. No other file there may be deleted. */
const OWN_TEMPORARY = /^[0-9a-f]{16}-/;

/** The files of writers in tmp/. @throws CfsError (store) */
export const listLeftovers = (repository: LocalRepository): readonly string[] =>
  forLeftovers(repository, () => undefined);

/**
 * Deletes the files of dead writers in tmp/. Only while there is no other writer.
 * @returns the number of files
 * @throws CfsError (store)
 */
export const removeLeftovers = (repository: LocalRepository): number =>
  forLeftovers(repository, (directory, name) => directory.unlink(name)).length;

function forLeftovers(
  repository: LocalRepository,
  work: (directory: StoreDirectory, name: string) => void,
): readonly string[] {
  try {
    const directory = repository.directory('tmp');
    try {
      const isOwn = (name: string): boolean => {
        const stat = OWN_TEMPORARY.test(name) ? directory.stat(name) : undefined;
        return stat !== undefined && isRegular(stat);
      };
      const names = directory.names().filter(isOwn);
      for (const name of names) work(directory, name);
      return names;
    } finally {
      directory.close();
    }
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw new CfsError('store', `Cannot clean ${repository.temporaryDirectory}: ${reasonOf(error)}`, { cause: error });
  }
}
