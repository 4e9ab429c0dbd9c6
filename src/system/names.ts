/**
 * Making, renaming, linking and removing names in open directories. As in descriptors.ts: a result or a negative errno.
 * A name is the bytes of one component. A symbolic link in its place is never followed.
 */
import { ENOENT, type Errno } from '../base/errno.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  asErrno,
  cString,
  nameBuffer,
  native,
  otherNameBuffer,
} from './libc.ts';

const mkdiratFn = native('int mkdirat(int dir, const void *name, unsigned int mode)');

/** mkdirat(2). EEXIST if the name exists, even as a symbolic link. */
export function makeDirectoryAt(dir: number, name: Uint8Array, mode: number): 0 | Errno {
  return asErrno(mkdiratFn(dir, nameBuffer(name), mode));
}

const renameatFn = native('int renameat(int oldDir, const void *old, int newDir, const void *new)');

/** renameat(2): replaces the file with the new name; a symbolic link in its place is replaced, not followed. */
export function renameAt(fromDir: number, from: Uint8Array, toDir: number, to: Uint8Array): 0 | Errno {
  return asErrno(renameatFn(fromDir, nameBuffer(from), toDir, otherNameBuffer(to)));
}

const renameat2Fn = native(
  'int renameat2(int oldDir, const void *old, int newDir, const void *new, unsigned int flags)',
);

/** EEXIST if the new name exists. */
export const RENAME_NOREPLACE = 1;
/** Both names exist, and are swapped in one step. */
export const RENAME_EXCHANGE = 2;
/** Leaves a whiteout with the old name. */
export const RENAME_WHITEOUT = 4;

/**
 * renameat2(2). EINVAL if the file system does not know one of the flags. Two names of one file: nothing happens, and
 * both stay.
 * @param flags RENAME_*
 */
export function renameAt2(fromDir: number, from: Uint8Array, toDir: number, to: Uint8Array, flags: number): 0 | Errno {
  return asErrno(renameat2Fn(fromDir, nameBuffer(from), toDir, otherNameBuffer(to), flags));
}

const linkatFn = native('int linkat(int oldDir, const void *old, int newDir, const void *name, int flags)');
const NUL: Buffer = Buffer.alloc(1);
let linksDescriptors = true;

/** linkat(2): links the open file `fd` as `name` in the open directory `dir`. EEXIST if that exists. */
export function linkFd(fd: number, dir: number, name: Uint8Array): 0 | Errno {
  if (linksDescriptors) {
    const result = linkatFn(fd, NUL, dir, nameBuffer(name), AT_EMPTY_PATH);
    // before Linux 6.10 that needs CAP_DAC_READ_SEARCH, and fails with ENOENT without it
    if (result !== ENOENT) return asErrno(result);
  }
  const result = linkatFn(AT_FDCWD, cString(`/proc/self/fd/${fd}`), dir, nameBuffer(name), AT_SYMLINK_FOLLOW);
  if (result === 0) linksDescriptors = false;
  return asErrno(result);
}

/** linkat(2) between open directories; a symbolic link is not followed. */
export function linkAt(fromDir: number, from: Uint8Array, toDir: number, to: Uint8Array): 0 | Errno {
  return asErrno(linkatFn(fromDir, nameBuffer(from), toDir, otherNameBuffer(to), 0));
}

const unlinkatFn = native('int unlinkat(int dir, const void *name, int flags)');
const AT_REMOVEDIR = 0x200;

/** unlinkat(2) of a file. */
export function unlinkAt(dir: number, name: Uint8Array): 0 | Errno {
  return asErrno(unlinkatFn(dir, nameBuffer(name), 0));
}

/** unlinkat(2) with AT_REMOVEDIR: an empty directory. */
export function removeDirectoryAt(dir: number, name: Uint8Array): 0 | Errno {
  return asErrno(unlinkatFn(dir, nameBuffer(name), AT_REMOVEDIR));
}
