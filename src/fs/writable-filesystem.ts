/**
 * The interface of a writable file system, for the kernel driver. Inode-based and free of any protocol, as
 * `Filesystem`, whose reading half it shares. The portable driver does not know it.
 *
 * Methods return their result or an Errno; an exception is a bug, and the driver answers EIO. They are synchronous.
 * Permissions were checked by the kernel (default_permissions) and are not checked again. Names and values are views,
 * valid during the call. Names are not empty, not "." or "..", and contain no slash; `lookup` alone also gets those.
 *
 * Several threads call the methods, each on its own instance over shared state. One thread at a time calls those that
 * may not take long. Those that read or write content, or wait for a disk, run beside them and beside each other:
 * `open`, `read`, `write`, `fallocate`, `copyRange`, `sync`, `syncAll`, `seek`, `getxattr`, `ioctl`, and `setattr`
 * with a size.
 */
import type { Errno } from '../base/errno.ts';
import type { Caller } from './caller.ts';
import { type Attributes, emptyAttributes, type Filesystem, type FilesystemStatistics } from './filesystem.ts';

/** Attributes of an inode that may change. */
export interface WritableAttributes extends Attributes {
  /** Like mtime. */
  atimeLow: number;
  atimeHigh: number;
  atimeNsec: number;
  /** The time of creation, as mtime; all 0 if the file system below does not record one. */
  btimeLow: number;
  btimeHigh: number;
  btimeNsec: number;
  /** Seconds for which the kernel may keep the attributes: FOREVER, or less if it cannot see all changes. */
  ttl: number;
}

/** The longest `ttl`: 68 years. */
export const FOREVER = 0x7fffffff;

/** A WritableAttributes to be filled. */
export function emptyWritableAttributes(): WritableAttributes {
  const times = { atimeLow: 0, atimeHigh: 0, atimeNsec: 0, btimeLow: 0, btimeHigh: 0, btimeNsec: 0 };
  return { ...emptyAttributes(), ...times, ttl: FOREVER };
}

/** The process behind a request that changes something. */
export interface Writer extends Caller {
  readonly gid: number;
  /** Of the process: bits that are not set in the mode of a new file, unless its directory has a default ACL. */
  readonly umask: number;
  /**
   * An earlier server received this request, and may have carried it out: a result that it would leave behind counts as
   * done.
   */
  readonly again: boolean;
  /**
   * For a request that is served `again`: the numbers that the earlier server passed to `note`; 0 and 0 if it passed
   * none.
   */
  readonly noted: readonly [a: number, b: number];
  /**
   * Keeps two numbers below 2^53 for the server that may get this request again: they show whether it was carried out,
   * such as the inodes of an exchange. Called before the first system call that changes something.
   */
  note(a: number, b: number): void;
}

/** A time to set: seconds as two words like mtime, or the present. */
export type NewTime = { readonly low: number; readonly high: number; readonly nsec: number } | 'now';

/** The changes of SETATTR; undefined fields keep their values. */
export interface Changes {
  /** Permission bits: 0o7777. */
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly size?: number | undefined;
  readonly atime?: NewTime | undefined;
  readonly mtime?: NewTime | undefined;
  readonly ctime?: NewTime | undefined;
  /** Set-id bits and file capabilities are removed, as by a write of a process without CAP_FSETID. */
  readonly killPrivileges: boolean;
}

/** The data for an open of a regular file. */
export interface OpenedContent {
  /**
   * A descriptor of a file of the upper layer, for reading and writing, that the kernel may read and write itself;
   * -1 for content that only `read` returns: it is in the image. The caller closes it with `closeContent`, soon.
   */
  readonly fd: number;
}

/**
 * Notifications from the file system to the driver, which keeps upper files open in the kernel. Passed when the file
 * system is made. The driver calls nothing back.
 */
export interface InodeEvents {
  /** The last name of the inode is gone. */
  unnamed(ino: number): void;
  /**
   * The kernel has no reference to the inode any more, and so no open file. Called before anything of the inode goes:
   * if its count of opens is not 0 afterwards, a release is still to come, and `closed` after it.
   */
  forgotten(ino: number): void;
}

/** Flags of rename(2). */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;

/** Flags of setxattr(2). */
export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

export interface WritableFilesystem extends Pick<Filesystem, 'readlink' | 'seek' | 'listxattr' | 'ioctl'> {
  /** As `Filesystem.lookup`. Each success counts as one more reference of the kernel to the inode; see `forget`. */
  lookup(parent: number, name: Uint8Array, out: WritableAttributes): Errno | 0;

  getattr(ino: number, out: WritableAttributes): Errno | 0;

  /**
   * As `Filesystem.readdir`. A cookie stays valid while entries are added and removed: an entry that exists all the
   * time is returned once. Each entry but "." and ".." that `sink` takes counts as looked up if `plus`.
   */
  readdir(
    ino: number,
    from: number,
    plus: boolean,
    out: WritableAttributes,
    sink: (name: Uint8Array, next: number) => boolean,
  ): Errno | 0;

  /** The directory is no longer open: data that `readdir` kept for it may be dropped. Only a hint. */
  releaseDirectory(ino: number): void;

  /**
   * As `Filesystem.getxattr`. An ACL that is not there is ENODATA, never EOPNOTSUPP: the kernel would pass that on to a
   * process that opens the file.
   */
  getxattr(ino: number, name: Uint8Array, caller?: Caller): Uint8Array | Errno;

  /**
   * Makes a file of the type in `mode`: regular, FIFO, socket or device. Its umask and the parent's default ACL are
   * applied here; in a set-group-ID directory it takes the group. `out` has its attributes; counts as a lookup.
   * EPERM for a character device 0:0, which would be a whiteout.
   */
  mknod(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdev: number,
    writer: Writer,
    out: WritableAttributes,
  ): Errno | 0;

  /**
   * Makes a regular file as `mknod` does, and opens it.
   * @param mode permission bits
   * @param flags of open(2); O_EXCL holds in any case
   */
  create(
    parent: number,
    name: Uint8Array,
    mode: number,
    flags: number,
    writer: Writer,
    out: WritableAttributes,
  ): OpenedContent | Errno;

  /** @param mode permission bits */
  mkdir(parent: number, name: Uint8Array, mode: number, writer: Writer, out: WritableAttributes): Errno | 0;

  symlink(parent: number, name: Uint8Array, target: Uint8Array, writer: Writer, out: WritableAttributes): Errno | 0;

  /** A regular file without a name, as O_TMPFILE makes it, opened as by `create`; `link` may add a name. */
  tmpfile(parent: number, mode: number, writer: Writer, out: WritableAttributes): OpenedContent | Errno;

  /** Another name for the inode; counts as a lookup. */
  link(ino: number, parent: number, name: Uint8Array, writer: Writer, out: WritableAttributes): Errno | 0;

  /** An inode whose last name goes stays, with nlink 0, until the kernel forgets it. */
  unlink(parent: number, name: Uint8Array, writer: Writer): Errno | 0;

  rmdir(parent: number, name: Uint8Array, writer: Writer): Errno | 0;

  /** @param flags 0, RENAME_NOREPLACE or RENAME_EXCHANGE; EINVAL for others */
  rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
    writer: Writer,
  ): Errno | 0;

  setattr(ino: number, changes: Changes, writer: Writer, out: WritableAttributes): Errno | 0;

  /** @param killSgid the set-group-ID bit is removed: an ACL was set by a process that may not keep it */
  setxattr(
    ino: number,
    name: Uint8Array,
    value: Uint8Array,
    flags: number,
    killSgid: boolean,
    writer: Writer,
  ): Errno | 0;

  removexattr(ino: number, name: Uint8Array, writer: Writer): Errno | 0;

  /** Whether `open` with these flags copies nothing and accesses no repository. */
  opensAtOnce(ino: number, flags: number): boolean;

  /**
   * The content of a regular file, copied up first if `flags` of open(2) request writing; with O_TRUNC of size 0. Opens
   * and releases are counted by the driver. It makes no call for an open that only reads a file which the kernel has
   * open already.
   * @param killPrivileges as in `Changes`, with O_TRUNC
   */
  open(ino: number, flags: number, killPrivileges: boolean, writer: Writer): OpenedContent | Errno;

  /** The driver is done with it: `fd` is registered in the kernel, or is not needed. The file is open all the same. */
  closeContent(content: OpenedContent): void;

  /** The last open of the inode was released. One without references and names is deleted. */
  closed(ino: number): void;

  /** Reads at `offset` into `into`; returns the bytes read, fewer only at the end of the file. */
  read(ino: number, offset: number, into: Uint8Array): number | Errno;

  /** Writes all of `bytes` or fails. @param killPrivileges as in `Changes` */
  write(ino: number, offset: number, bytes: Uint8Array, killPrivileges: boolean): number | Errno;

  /**
   * fallocate(2): all its modes that the file system of the upper layer has. Set-id bits are removed in any case, as by
   * `copyRange`: the kernel does not say whether the process may keep them.
   */
  fallocate(ino: number, mode: number, offset: number, length: number): Errno | 0;

  /** copy_file_range(2); returns the bytes copied. */
  copyRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): number | Errno;

  /** fsync(2) of a file or directory; fdatasync(2) with `dataOnly`. */
  sync(ino: number, dataOnly: boolean): Errno | 0;

  /** syncfs(2) */
  syncAll(): Errno | 0;

  /** The kernel gives up `count` references. An inode without names, references and opens is deleted. */
  forget(ino: number, count: number): void;

  statfs(): WritableStatistics;
}

export interface WritableStatistics extends FilesystemStatistics {
  readonly blocksFree: number;
  readonly blocksAvailable: number;
  readonly filesFree: number;
}
