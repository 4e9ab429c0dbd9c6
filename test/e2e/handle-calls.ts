/** Taking, opening and comparing handles, for several test files. */
import { closeSync, constants, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { EINVAL, type Errno, errnoName, isErrno } from '../../src/base/errno.ts';
import type { FileHandle } from '../../src/base/handle-format.ts';
import { AT_HANDLE_CONNECTABLE, nameToHandle, openByHandle } from '../../src/system/file-handle.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { type Dirent, readAllEntries } from '../support/suites/calls.ts';

const { O_RDONLY, O_DIRECTORY } = constants;
const AT_SYMLINK_FOLLOW = 0x400;

/** The handle of a file that must exist. `flags`: AT_HANDLE_*. */
export function handleOf(path: string | Uint8Array, flags = 0): FileHandle {
  const result = nameToHandle(path, flags);
  if (isErrno(result)) throw new Error(`name_to_handle_at ${path}: ${errnoName(result)}`);
  return result.handle;
}

/** Linux 6.13 has handles with the parent in them; older kernels know no flags in a handle's type. */
export const hasConnectableHandles: boolean = nameToHandle('/', AT_HANDLE_CONNECTABLE) !== EINVAL;

/** The handle of an open file; O_PATH is enough. */
export const handleOfFd = (fd: number): FileHandle => handleOf(`/proc/self/fd/${fd}`, AT_SYMLINK_FOLLOW);

const openFds: number[] = [];

/** Closes `fd` after the test. */
export function closeLater(fd: number): number {
  openFds.push(fd);
  return fd;
}

/**
 * Keeps the dentries of all files in a mount that is the lower layer of an overlayfs, until the handles are closed.
 * Linux 6.16 and later take a dentry of FUSE that comes from a handle as outdated (docs/handles.md), and overlayfs then
 * answers ESTALE for files that were copied up. A handle leads to a dentry that came from a path if there is one; other
 * tests drop the caches of the machine.
 */
export function keepNames(root: string): void {
  for (const name of ['', ...readdirSync(root, { recursive: true, encoding: 'utf8' })]) {
    closeLater(openSync(join(root, name), O_PATH | constants.O_NOFOLLOW));
  }
}

/** Opens a handle in the mount at `path`, or returns the error. */
export function openHandle(path: string, handle: FileHandle, flags: number): number | Errno {
  const mountFd = openSync(path, O_RDONLY | O_DIRECTORY);
  try {
    const fd = openByHandle(mountFd, handle, flags);
    return isErrno(fd) ? fd : closeLater(fd);
  } finally {
    closeSync(mountFd);
  }
}

/** As `openHandle`, but throws on an error. */
export function openedHandle(path: string, handle: FileHandle, flags: number): number {
  const fd = openHandle(path, handle, flags);
  if (isErrno(fd)) throw new Error(`open_by_handle_at: ${errnoName(fd)}`);
  return fd;
}

/** The name of the error of opening a handle, which must fail. */
export function refusalOf(path: string, handle: FileHandle, flags: number): string {
  const result = openHandle(path, handle, flags);
  return isErrno(result) ? errnoName(result) : `opened as ${result}`;
}

/** To be called at the top level of a test file that opens handles. */
export function closeAfterEach(): void {
  afterEach(closeHandles);
}

/** Closes all files opened so far: drop_caches cannot drop open files. */
export function closeHandles(): void {
  for (const fd of openFds.splice(0)) closeSync(fd);
}

export interface TreeEntry extends Pick<Dirent, 'ino' | 'type'> {
  /** From the root of the tree: "/a/b". */
  readonly path: Buffer;
}

const DT_DIR = 4;

/** Every name below `root`, as readdir returns it: names are bytes. */
export function* entriesBelow(root: string, path: Buffer = Buffer.alloc(0)): Generator<TreeEntry> {
  const fd = openSync(Buffer.concat([Buffer.from(root), path]), O_RDONLY | O_DIRECTORY);
  let entries: Dirent[];
  try {
    entries = readAllEntries(fd, 65_536);
  } finally {
    closeSync(fd);
  }
  for (const { name, ino, type } of entries) {
    if (['.', '..'].includes(name.toString('latin1'))) continue;
    const below = Buffer.concat([path, Buffer.from('/'), name]);
    yield { path: below, ino, type };
    if (type === DT_DIR) yield* entriesBelow(root, below);
  }
}
