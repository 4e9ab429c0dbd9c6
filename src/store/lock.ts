/**
 * The lock of a repository: writers share it, whoever deletes objects holds it alone. It is flock(2) on
 * the file `lock`, so it ends with its process, however that ends.
 */
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EAGAIN, errnoOf } from '../errno.ts';
import { CfsError, reasonOf } from '../error.ts';
import type { LocalRepository } from './local.ts';

type FlockMode = 'shnb' | 'exnb';

const POLL_MS = 50;
/** Who waits longer is told what for. */
const SILENT_MS = 1000;

const flockSync: (fd: number, mode: FlockMode) => void = (fd, mode) => {
  // loaded at the first lock: a mount takes none
  fsExt ??= createRequire(import.meta.url)('fs-ext') as { flockSync: typeof flockSync };
  fsExt.flockSync(fd, mode);
};
let fsExt: { flockSync: typeof flockSync } | undefined;

/** A lock that is held until `release` or the end of the process. */
export interface RepositoryLock {
  release(): void;
}

/**
 * Takes the shared lock of a writer; waits while somebody deletes objects. Where nobody else writes, the
 * files that killed writers left in tmp/ are removed first.
 * @param signal ends the waiting; its reason is thrown
 * @param onWait called once, with a line for people, where it takes more than a second
 * @throws CfsError (store) where the lock file cannot be opened for writing, as in a read-only repository
 */
export async function lockForWriting(
  repository: LocalRepository,
  signal?: AbortSignal,
  onWait?: (line: string) => void,
): Promise<RepositoryLock> {
  let fd: number;
  try {
    fd = openSync(repository.lockPath, 'a');
  } catch (error) {
    throw new CfsError('store', `Cannot write to repository ${repository.path}: lock: ${reasonOf(error)}`, {
      cause: error,
    });
  }
  try {
    if (tryLock(fd, 'exnb')) removeLeftovers(repository);
    // flock(2) itself would wait without hearing signals
    for (let waited = 0; !tryLock(fd, 'shnb'); waited += POLL_MS) {
      if (waited === SILENT_MS) onWait?.(`waiting for ${repository.lockPath}, which ${holderOf(fd)} has locked`);
      await sleep(POLL_MS);
      if (signal?.aborted === true) throw signal.reason;
    }
  } catch (error) {
    closeSync(fd);
    if (error instanceof CfsError) throw error;
    throw new CfsError('store', `Cannot lock repository ${repository.path}: ${reasonOf(error)}`, { cause: error });
  }
  return { release: () => closeSync(fd) };
}

/** Who holds the lock alone, as proc_locks(5) has it: "1: FLOCK  ADVISORY  WRITE 1234 08:02:5678 0 EOF". */
function holderOf(fd: number): string {
  try {
    const { ino } = fstatSync(fd);
    const line = new RegExp(`FLOCK +ADVISORY +WRITE +(\\d+) [0-9a-f]+:[0-9a-f]+:${ino} `);
    const pid = line.exec(readFileSync('/proc/locks', 'utf8'))?.[1];
    if (pid !== undefined && pid !== '0') return `process ${pid}`;
  } catch {
    // no /proc: the lock's path has to do
  }
  return 'another process';
}

function tryLock(fd: number, mode: 'exnb' | 'shnb'): boolean {
  try {
    flockSync(fd, mode);
    return true;
  } catch (error) {
    if (errnoOf(error) === EAGAIN || (error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
    throw error;
  }
}

function removeLeftovers(repository: LocalRepository): void {
  const directory = repository.temporaryDirectory;
  try {
    for (const name of readdirSync(directory)) unlinkSync(join(directory, name));
  } catch (error) {
    throw new CfsError('store', `Cannot clean ${directory}: ${reasonOf(error)}`, { cause: error });
  }
}
