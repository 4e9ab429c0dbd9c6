/**
 * The directories of a repository, which may belong to another user: a user with write permission on one can put a
 * symbolic link, a fifo or a device anywhere in it, at any time. So everything below a repository is named relative to
 * an open directory, no symbolic link is followed in any component, and only regular files are read.
 */

import { constants, fstatSync } from 'node:fs';
import { EEXIST, EINVAL, ELOOP, ENOENT, ENOTDIR, ENXIO, type Errno, isErrno } from '../base/errno.ts';
import { pathBytes } from '../base/path-text.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { readUpTo } from '../objects/read-content.ts';
import { openHow } from '../system/beneath.ts';
import { closeFd } from '../system/descriptors.ts';
import {
  fsyncSync,
  linkAt,
  makeDirectoryAt,
  namesAt,
  openAt,
  openBeneath,
  removeDirectoryAt,
  renameAt,
  statAt,
  unlinkAt,
} from '../system/file-calls.ts';
import type { FileStat } from '../system/file-status.ts';
import { AT_FDCWD, cString, O_PATH, systemError } from '../system/libc.ts';
import { FileSharing, shareDirectory } from './sharing.ts';

/** Descriptors that only name a directory need no permission to read it. */
const NAME_DIRECTORY = O_PATH | constants.O_DIRECTORY;
const DIRECTORY = openHow(NAME_DIRECTORY);
const READ_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;
/** Opening a fifo does not block, and a terminal does not become ours. */
const CAREFUL = constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
const DOT: Uint8Array = Uint8Array.of(0x2e);

/** Mode bits of a file that is not private to its owner. */
const FOR_OTHERS = 0o077;

/** The number of levels below a name that `removeTree` descends. */
const MAX_DEPTH = 64;

/** The identity of the directory, wherever its name is now. */
export interface Place {
  readonly dev: number;
  readonly ino: number;
}

export const isRegular = ({ mode }: FileStat): boolean => (mode & S_IFMT) === S_IFREG;
export const isDirectory = ({ mode }: FileStat): boolean => (mode & S_IFMT) === S_IFDIR;

/** An open directory. All its functions throw errors of node:fs, with the path in them. */
export class StoreDirectory {
  /** An O_PATH descriptor of the directory. */
  readonly fd: number;
  /** For messages. */
  readonly path: string;

  private constructor(fd: number, path: string) {
    this.fd = fd;
    this.path = path;
  }

  /** The directory at a path that the caller trusts: symbolic links in it are followed. */
  static at(path: string): StoreDirectory {
    const fd = openAt(AT_FDCWD, pathBytes(path), NAME_DIRECTORY);
    if (isErrno(fd)) throw systemError(fd, 'open', path);
    return new StoreDirectory(fd, path);
  }

  /** Another descriptor of an open directory. */
  static of(directory: number, path: string): StoreDirectory {
    const fd = openAt(directory, DOT, NAME_DIRECTORY);
    if (isErrno(fd)) throw systemError(fd, 'open', path);
    return new StoreDirectory(fd, path);
  }

  get place(): Place {
    const { dev, ino } = fstatSync(this.fd);
    return { dev, ino };
  }

  /** A directory in this one, or deeper. */
  open(name: string): StoreDirectory {
    const fd = openBeneath(this.fd, cString(pathBytes(name)), DIRECTORY);
    if (isErrno(fd)) throw this.#error(fd, 'open', name);
    return new StoreDirectory(fd, `${this.path}/${name}`);
  }

  /** As `open`; undefined if there is none. */
  openIfThere(name: string): StoreDirectory | undefined {
    try {
      return this.open(name);
    } catch (error) {
      if ((error as { errno?: unknown }).errno === ENOENT) return undefined;
      throw error;
    }
  }

  /** Creates a directory in this one, if there is none, and opens it. In a shared repository it is shared, too. */
  make(name: string, mode: number = 0o777): StoreDirectory {
    const result = makeDirectoryAt(this.fd, pathBytes(name), mode);
    if (isErrno(result) && result !== EEXIST) throw this.#error(result, 'mkdir', name);
    const made = this.open(name);
    if (isErrno(result)) return made;
    try {
      shareDirectory(this.fd, made.fd);
      return made;
    } catch (error) {
      made.close();
      throw error;
    }
  }

  /** In no particular order. */
  names(): string[] {
    const names = namesAt(this.fd);
    if (isErrno(names)) throw systemError(names, 'readdir', this.path);
    return names;
  }

  /** Of the name itself; undefined if it does not exist. */
  stat(name: string): FileStat | undefined {
    const stat = statAt(this.fd, pathBytes(name));
    if (stat === ENOENT) return undefined;
    if (isErrno(stat)) throw this.#error(stat, 'stat', name);
    return stat;
  }

  /** Opens a regular file, which the caller closes. Never blocks, and never keeps any other kind of file open. */
  openFile(name: string, flags: number = constants.O_RDONLY, mode = 0): number {
    const fd = openAt(this.fd, pathBytes(name), flags | CAREFUL, mode);
    // a fifo without a reader, and any socket
    if (fd === ENXIO) throw this.#notRegular(name);
    if (isErrno(fd)) throw this.#error(fd, 'open', name);
    if (fstatSync(fd).isFile()) return fd;
    closeFd(fd);
    throw this.#notRegular(name);
  }

  /** The contents of a regular file of at most `limit` bytes. */
  readText(name: string, limit: number): string {
    const fd = this.openFile(name);
    try {
      const buffer = Buffer.alloc(limit + 1);
      const length = readUpTo(fd, buffer, buffer.length, 0);
      if (length > limit) throw this.#error(EINVAL, 'read', name, `it has more than ${limit} bytes`);
      return buffer.toString('utf8', 0, length);
    } finally {
      closeFd(fd);
    }
  }

  /** Creates a file, open for reading and writing, which the caller closes. EEXIST if the name exists. */
  create(name: string, mode: number): number {
    const fd = this.openFile(name, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, mode);
    try {
      if ((mode & FOR_OTHERS) !== 0) new FileSharing(this.fd, mode).share(fd);
      return fd;
    } catch (error) {
      closeFd(fd);
      throw error;
    }
  }

  /** Replaces the file of the other name. */
  rename(name: string, directory: StoreDirectory, other: string): void {
    const result = renameAt(this.fd, pathBytes(name), directory.fd, pathBytes(other));
    if (isErrno(result)) throw this.#error(result, 'rename', name);
  }

  /** Renames a file. EEXIST if the new name exists. */
  link(name: string, directory: StoreDirectory, other: string): void {
    const result = linkAt(this.fd, pathBytes(name), directory.fd, pathBytes(other));
    if (isErrno(result)) throw this.#error(result, 'link', name);
  }

  unlink(name: string): void {
    const result = unlinkAt(this.fd, pathBytes(name));
    if (isErrno(result)) throw this.#error(result, 'unlink', name);
  }

  /** Deletes a file, or a directory with everything in it, without following symbolic links. */
  removeTree(name: string, depth: number = MAX_DEPTH): void {
    const stat = this.stat(name);
    if (stat === undefined) return;
    if (!isDirectory(stat)) {
      this.unlink(name);
      return;
    }
    if (depth === 0) throw this.#error(EINVAL, 'rmdir', name, 'it is too deep');
    const directory = this.open(name);
    try {
      for (const inner of directory.names()) directory.removeTree(inner, depth - 1);
    } finally {
      directory.close();
    }
    const result = removeDirectoryAt(this.fd, pathBytes(name));
    if (isErrno(result)) throw this.#error(result, 'rmdir', name);
  }

  /** fsync(2): the names in it are on the device then. */
  sync(): void {
    const fd = this.openToRead();
    try {
      fsyncSync(fd);
    } finally {
      closeFd(fd);
    }
  }

  /** A descriptor of this directory for fsync(2), syncfs(2) and ioctl(2), which refuse O_PATH descriptors. */
  openToRead(): number {
    const fd = openAt(this.fd, DOT, READ_DIRECTORY);
    if (isErrno(fd)) throw systemError(fd, 'open', this.path);
    return fd;
  }

  close(): void {
    closeFd(this.fd);
  }

  #notRegular(name: string): Error {
    return this.#error(EINVAL, 'open', name, 'it is not a regular file');
  }

  #error(errno: Errno, call: string, name: string, text?: string): Error {
    const path = `${this.path}/${name}`;
    const reason = text ?? (errno === ELOOP || errno === ENOTDIR ? linkText(this.fd, name) : undefined);
    const error = systemError(errno, call, path);
    if (reason !== undefined) error.message = `EINVAL: ${reason}`;
    return error;
  }
}

/** The message for a path with a symbolic link in it; undefined if there is none. */
export function linkText(directory: number, path: string): string | undefined {
  const parts = path.split('/');
  const link = parts.map((_, i) => parts.slice(0, i + 1).join('/')).find((part) => isLink(directory, part));
  if (link === undefined) return undefined;
  const what = link === path ? 'it' : link;
  return `${what} is a symbolic link (links in a repository are not followed; use a bind mount instead)`;
}

function isLink(directory: number, path: string): boolean {
  const stat = statAt(directory, pathBytes(path));
  return !isErrno(stat) && (stat.mode & S_IFMT) === S_IFLNK;
}
