/**
 * What a file system is to a driver. Inode-based, read-only, and free of any protocol: the kernel driver
 * and the portable one each translate this to theirs.
 *
 * A method returns its result or an Errno; ENOENT is an everyday answer, not an exception. What is thrown
 * is a bug, and the driver answers EIO. Methods are synchronous and may be called from several threads,
 * each with its own instance over shared tables.
 */
import type { Errno } from '../base/errno.ts';
import type { Caller } from './caller.ts';

/** The root's inode number in every file system. */
export const ROOT_INO = 1;

/** st_* of an inode. An object of this type is filled by the file system and read by the driver at once: one instance serves all calls. */
export interface Attributes {
  /** Stable id; below 2^52. */
  ino: number;
  /** What st_ino and d_ino show: the stable id, or a shorter number in its place. */
  shownIno: number;
  /** 32 bits; changes when the id names another thing. */
  generation: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  /** Major and minor in the kernel's 32-bit encoding (new_encode_dev). */
  rdev: number;
  size: number;
  /** Units of 512 bytes, without those of holes. */
  blocks: number;
  /** Seconds since 1970 as two's complement: low word, then high word. */
  mtimeLow: number;
  mtimeHigh: number;
  mtimeNsec: number;
  /** As mtime. Never before it; another one where anything else of the inode differs. */
  ctimeLow: number;
  ctimeHigh: number;
  ctimeNsec: number;
}

/** An Attributes to be filled. */
export function emptyAttributes(): Attributes {
  return {
    ino: 0,
    shownIno: 0,
    generation: 0,
    mode: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    size: 0,
    blocks: 0,
    mtimeLow: 0,
    mtimeHigh: 0,
    mtimeNsec: 0,
    ctimeLow: 0,
    ctimeHigh: 0,
    ctimeNsec: 0,
  };
}

/** f_* of statfs(2), in units of `blockSize`. Everything is used, nothing is free. */
export interface FilesystemStatistics {
  readonly blockSize: number;
  readonly blocks: number;
  readonly files: number;
  readonly nameMax: number;
}

/**
 * An open file. `fd` is a descriptor of a file whose bytes are exactly the content (verified as the mount
 * asks), or -1 where the content lies in memory and only `read` gives it.
 */
export interface OpenFile {
  readonly fd: number;
  /** `fileIdentity` of the file that `fd` is of, as it was when it was verified; 0 where `fd` is -1. */
  readonly identity: number;
  /** What `read` and `release` take; below 2^31. */
  readonly handle: number;
  /** The inode as a number below `Filesystem.slots`: an index for what a driver keeps of each inode. */
  readonly slot: number;
}

/** What `Filesystem.features` tells a driver before the first request, so that it can keep the kernel from asking in vain. */
export interface FilesystemFeatures {
  /** Some inode has system.posix_acl_*. */
  readonly acls: boolean;
  /** `read` needs no `open` before it, and takes handle 0: a driver can spare itself every open. */
  readonly openless: boolean;
}

/**
 * Receives one directory entry, whose attributes were filled in before; `next` is the cookie of the entry after it.
 * Returns false when it has no room, and is then not called again.
 */
export type DirentSink = (name: Uint8Array, next: number) => boolean;

export interface Filesystem {
  readonly features: FilesystemFeatures;

  /** How many inodes there are; see `OpenFile.slot`. */
  readonly slots: number;

  /** Fills `out` with what `name` is in directory `parent`. "." and ".." work; "." and "/" of a file give the file itself (for handles). */
  lookup(parent: number, name: Uint8Array, out: Attributes): Errno | 0;

  getattr(ino: number, out: Attributes): Errno | 0;

  /**
   * Feeds the entries of a directory to `sink`, from cookie `from` (0 at the start, else a `next` that was
   * given), "." and ".." first, then by name. Before each call `out` holds the entry's attributes. The name
   * is valid only during the call.
   */
  readdir(ino: number, from: number, out: Attributes, sink: DirentSink): Errno | 0;

  /** The target; a view, not a copy. */
  readlink(ino: number): Uint8Array | Errno;

  /** The slot of an inode, -1 where there is none. */
  slotOf(ino: number): number;

  /** Bytes of the content of the inode in `slot`. */
  sizeOf(slot: number): number;

  /**
   * Verifies and opens the content of the regular file in `slot` for reading. Each success is paired with a `release`.
   * ENOENT for a slot of -1.
   */
  open(slot: number): OpenFile | Errno;

  /**
   * Which file an `open` of the inode in `slot` would give a descriptor of, where that can be told without opening and
   * without hashing: its `fileIdentity`. -1 where only `open` can tell.
   */
  current(slot: number): number;

  /** Reads at `offset` into `into`; returns the bytes read, fewer only at the end of the file. */
  read(ino: number, handle: number, offset: number, into: Uint8Array): number | Errno;

  release(handle: number): void;

  /**
   * Where data (or, with `hole`, a hole) is next in a regular file, from `offset` on, as lseek(2) tells it; ENXIO at the end.
   * ENOSYS where no file has a hole: data is all that there is.
   */
  seek(ino: number, offset: number, hole: boolean): number | Errno;

  /** The value, ENODATA where there is none, EOPNOTSUPP for an ACL or an SELinux label where no inode has one; a view, not a copy. */
  getxattr(ino: number, name: Uint8Array, caller?: Caller): Uint8Array | Errno;

  /** The names that the caller may know, each followed by NUL, as listxattr(2) gives them. */
  listxattr(ino: number, caller?: Caller): Uint8Array | Errno;

  /**
   * Answers an ioctl(2) on an open file of the inode: at most `room` bytes for the caller. ENOTTY for a command that is not known.
   * @param input what the caller's structure held
   */
  ioctl(ino: number, command: number, input: Uint8Array, room: number, caller?: Caller): Uint8Array | Errno;

  statfs(): FilesystemStatistics;
}
