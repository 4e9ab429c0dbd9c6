/**
 * The interface of a file system for drivers. Inode-based, read-only, and free of any protocol: the kernel driver and
 * the portable one each translate it to theirs.
 *
 * A method returns its result or an Errno; ENOENT is a normal answer, not an exception. An exception is a bug, and the
 * driver answers EIO. Methods are synchronous and may be called from several threads, each with its own instance over
 * shared tables.
 */
import type { Errno } from '../base/errno.ts';
import type { Caller } from './caller.ts';

/** The root's inode number in every file system. */
export const ROOT_INO = 1;

/**
 * st_* of an inode. The file system fills an object of this type and the driver reads it at once: one instance serves
 * all calls.
 */
export interface Attributes {
  /** Stable id; below 2^52. */
  ino: number;
  /** The number in st_ino and d_ino: the stable id, or a shorter number in its place. */
  shownIno: number;
  /** 32 bits; changes when the id refers to another file. */
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
  /** Like mtime. Never before it; differs if anything else of the inode does. */
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
 * An open file. `fd` is a descriptor of a file whose bytes are exactly the content (verified as requested by the
 * mount), or -1 if the content is in memory and only `read` returns it.
 */
export interface OpenFile {
  readonly fd: number;
  /** `fileIdentity` of the file of `fd` at the time of its verification; 0 if `fd` is -1. */
  readonly identity: number;
  /** The handle that `read` and `release` take; below 2^31. */
  readonly handle: number;
  /** The inode as a number below `Filesystem.slots`: an index for a driver's data about each inode. */
  readonly slot: number;
}

/** Facts for a driver before the first request, so that it can avoid useless requests of the kernel. */
export interface FilesystemFeatures {
  /** Some inode has system.posix_acl_*. */
  readonly acls: boolean;
  /** `read` needs no `open` before it, and takes handle 0: a driver can avoid every open. */
  readonly openless: boolean;
}

/**
 * Receives one directory entry, whose attributes were filled in before; `next` is the cookie of the entry after it.
 * Returns false if it has no room, and is then not called again.
 */
export type DirentSink = (name: Uint8Array, next: number) => boolean;

export interface Filesystem {
  readonly features: FilesystemFeatures;

  /** The number of inodes; see `OpenFile.slot`. */
  readonly slots: number;

  /**
   * Fills `out` with the attributes of `name` in directory `parent`. "." and ".." work; "." and "/" of a file yield the
   * file itself (for handles).
   */
  lookup(parent: number, name: Uint8Array, out: Attributes): Errno | 0;

  getattr(ino: number, out: Attributes): Errno | 0;

  /**
   * Feeds the entries of a directory to `sink`, from cookie `from` (0 at the start, else an earlier `next`), "." and
   * ".." first, then by name. Before each call `out` has the entry's attributes. The name is valid only during the
   * call.
   */
  readdir(ino: number, from: number, out: Attributes, sink: DirentSink): Errno | 0;

  /** The target; a view, not a copy. */
  readlink(ino: number): Uint8Array | Errno;

  /** The slot of an inode, -1 if there is none. */
  slotOf(ino: number): number;

  /** Bytes of the content of the inode in `slot`. */
  sizeOf(slot: number): number;

  /**
   * Verifies and opens the content of the regular file in `slot` for reading. Each success is paired with a `release`.
   * ENOENT for a slot of -1.
   */
  open(slot: number): OpenFile | Errno;

  /**
   * The file that an `open` of the inode in `slot` would open, if that is known without opening and hashing: its
   * `fileIdentity`. -1 if only `open` can determine it.
   */
  current(slot: number): number;

  /** Reads at `offset` into `into`; returns the bytes read, fewer only at the end of the file. */
  read(ino: number, handle: number, offset: number, into: Uint8Array): number | Errno;

  release(handle: number): void;

  /**
   * The position of the next data (or, with `hole`, hole) in a regular file, from `offset` on, as for lseek(2); ENXIO
   * at the end. ENOSYS if no file has a hole: everything is data.
   */
  seek(ino: number, offset: number, hole: boolean): number | Errno;

  /**
   * The value, ENODATA if there is none, EOPNOTSUPP for an ACL or an SELinux label if no inode has one; a view, not a
   * copy.
   */
  getxattr(ino: number, name: Uint8Array, caller?: Caller): Uint8Array | Errno;

  /** The names that the caller may see, each followed by NUL, as listxattr(2) returns them. */
  listxattr(ino: number, caller?: Caller): Uint8Array | Errno;

  /**
   * Answers an ioctl(2) on an open file of the inode: at most `room` bytes for the caller. ENOTTY for an unknown
   * command.
   * @param input the contents of the caller's structure
   */
  ioctl(ino: number, command: number, input: Uint8Array, room: number, caller?: Caller): Uint8Array | Errno;

  statfs(): FilesystemStatistics;
}
