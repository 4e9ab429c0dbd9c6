/** Small files in W/cfs, which is private to the user of the mount. */
import { constants } from 'node:fs';
import { ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { renameAt, unlinkAt } from '../system/directory-calls.ts';
import { syncFd, truncateFd, writeAll } from '../system/file-content-calls.ts';
import { emptyFileStatus, statusOf } from '../system/file-status.ts';
import { systemError } from '../system/libc.ts';
import { pread } from '../system/reading-writing.ts';

const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const MAKE = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const DOT: Uint8Array = Buffer.from('.');
const CFS: Uint8Array = Buffer.from('cfs');

/** Opens W/cfs. @param base W, an open directory. Throws a `systemError`. */
export const openPrivate = (base: number): number => required(openAt(base, CFS, DIRECTORY), 'open', 'cfs');

/** The value of a file; undefined if there is none. Throws a `systemError`, or a SyntaxError. */
export function readPrivate(cfs: number, name: string): unknown {
  const fd = openAt(cfs, Buffer.from(name), READ);
  if (fd === ENOENT) return undefined;
  required(fd, 'open', name);
  try {
    const status = emptyFileStatus();
    required(statusOf(fd, status), 'read', name);
    const bytes = Buffer.alloc(status.size);
    for (let done = 0; done < bytes.length; ) {
      const read = required(pread(fd, bytes.subarray(done), bytes.length - done, done), 'read', name);
      if (read === 0) break;
      done += read;
    }
    return JSON.parse(bytes.toString());
  } finally {
    closeFd(fd);
  }
}

/** As `openPrivate`; -1 if that is not possible. */
export function tryOpenPrivate(base: number): number {
  try {
    return openPrivate(base);
  } catch {
    return -1;
  }
}

/** Writes a file in place, as JSON, and to the disk. Throws a `systemError`; then the file is removed. */
export function writePrivate(cfs: number, name: string, value: unknown): void {
  const fd = required(openAt(cfs, Buffer.from(name), MAKE, 0o600), 'make', name);
  try {
    const bytes = Buffer.from(JSON.stringify(value));
    required(truncateFd(fd, 0), 'write', name);
    required(writeAll(fd, bytes, 0), 'write', name);
    required(syncFd(fd, false), 'write', name);
  } catch (error) {
    unlinkAt(cfs, Buffer.from(name));
    throw error;
  } finally {
    closeFd(fd);
  }
}

/** Renames a file, also on the disk. Throws a `systemError`. */
export function renamePrivate(cfs: number, name: string, newName: string): void {
  required(renameAt(cfs, Buffer.from(name), cfs, Buffer.from(newName), 0), 'rename', name);
  const fd = required(openAt(cfs, DOT, DIRECTORY), 'open', 'cfs');
  const synced = syncFd(fd, false);
  closeFd(fd);
  required(synced, 'write', newName);
}

/** Throws a `systemError` for an error. */
export function required(result: number | Errno, what: string, name: string): number {
  if (isErrno(result)) throw systemError(result as Errno, what, name);
  return result as number;
}
