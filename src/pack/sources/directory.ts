/**
 * A directory as a source. Every step goes from an open directory to a name in it, and never through a symbolic link:
 * moving or replacing files during packing cannot lead it out of the tree, and no path is too long. Operations without
 * a call relative to a directory go through /proc/self/fd/N/NAME; the others do not, because that costs as much again
 * as the call (measured: lstat 7 us, statx 2 us).
 */
import { closeSync, constants, openSync, readdirSync, readlinkSync } from 'node:fs';
import { compareBytes, concatBytes, printable } from '../../base/bytes.ts';
import { type Errno, isErrno } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { pathBytes } from '../../base/path-text.ts';
import { isPrivateXattr } from '../../base/private-xattrs.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import type { InodeMetadata } from '../../manifest/builder.ts';
import type { Xattr } from '../../manifest/xattr-sets.ts';
import { openAt } from '../../system/descriptors.ts';
import { type FileStat, inodeOf, statAt, statFd } from '../../system/file-status.ts';
import { O_PATH, systemError } from '../../system/libc.ts';
import { requireProc } from '../../system/proc.ts';
import { isOutOfFiles } from '../../system/resource-limits.ts';
import { hasNoXattrsAt } from '../../system/xattrs.ts';
import { isSameInode } from '../file-state.ts';
import { FileSystems } from '../file-systems.ts';
import type { EntryNumber, FileContent, FileStamp, OpenContent, SourceEntry, SyncSource } from '../source.ts';
import { Excluder, type Exclusions } from './exclusions.ts';
import { changed, sourceError } from './source-error.ts';
import { xattrsAt } from './xattrs.ts';

export interface DirectoryOptions {
  /** All times become 1970-01-01 00:00:00. */
  readonly useEpoch: boolean;
  readonly skipXattrs: boolean;
  /** Leave out character and block devices. */
  readonly skipDevices: boolean;
  /** Do not enter other file systems; their mount points become empty directories. */
  readonly oneFileSystem: boolean;
  /** Directories kept open on the way down; ancestors beyond are reopened through "..". Default: MAX_OPEN. */
  readonly openDirectories?: number;
  /** Left out wherever they are found: the repository to be written, the image to be replaced, and its signature. */
  readonly exclude?: { readonly store: string; readonly image?: string; readonly signature?: string };
  /** Left out without a line. */
  readonly exclusions?: Exclusions;
  /** Receives a line for each omission. */
  readonly warn: (line: string) => void;
}

const MAX_OPEN = 128;
/** How long to retry if no more files can be opened: a second. */
const TRIES = 50;
const RETRY_MS = 20;
const never: Int32Array = new Int32Array(new SharedArrayBuffer(4));
const DIRECTORY_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const SLASH = Uint8Array.of(0x2f);
const DOT = Uint8Array.of(0x2e);

interface OpenDirectory {
  /** -1 while closed to save descriptors. */
  fd: number;
  readonly stat: FileStat;
  readonly path: Uint8Array;
  readonly entry: EntryNumber;
  readonly names: readonly Uint8Array[];
  next: number;
}

/** The inode of a stat. */
const identity = (stat: FileStat): string => `${stat.device}-${stat.inodeHigh}-${stat.inodeLow}`;

/** The path of `name` in an open directory, for calls without a directory argument. */
const through = (fd: number, name: Uint8Array): Buffer => Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);

function statOf(result: FileStat | Errno, path: Uint8Array): FileStat {
  if (isErrno(result)) throw sourceError('read', path, systemError(result, 'statx', ''));
  return result;
}

/** @throws CfsError (source) if `path` is not a readable directory */
export function openDirectorySource(path: string, options: DirectoryOptions): SyncSource {
  requireProc();
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw new CfsError('source', `Cannot pack ${path}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    return new DirectorySource(fd, pathBytes(path), options);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

class DirectorySource implements SyncSource {
  readonly root: InodeMetadata;
  readonly name: string;
  readonly #options: DirectoryOptions;
  readonly #stack: OpenDirectory[] = [];
  readonly #links = new Map<string, EntryNumber>();
  readonly #fileSystems = new FileSystems();
  readonly #device: number;
  readonly #store: string | undefined;
  readonly #image: string | undefined;
  readonly #signature: string | undefined;
  readonly #excluder: Excluder;
  #entries = 1;

  constructor(fd: number, path: Uint8Array, options: DirectoryOptions) {
    this.#options = options;
    this.#excluder = new Excluder(options.exclusions ?? {}, path.length + 1);
    const stat = statOf(statFd(fd), path);
    this.#device = stat.device;
    this.#fileSystems.meet(stat.device, fd);
    this.name = identity(stat);
    this.#store = identityAt(options.exclude?.store);
    this.#image = identityAt(options.exclude?.image);
    this.#signature = identityAt(options.exclude?.signature);
    if (identity(stat) === this.#store) {
      throw new CfsError('source', `Cannot pack ${printable(path)}: it is the repository that the objects go to`);
    }
    this.root = this.#metadata(stat, fd, DOT, path);
    this.#stack.push({ fd, stat, path, entry: 0, names: this.#excluder.namesOf(fd, namesOf(fd, path)), next: 0 });
  }

  *entries(): Generator<SourceEntry> {
    try {
      for (let top = this.#stack.at(-1); top !== undefined; top = this.#stack.at(-1)) {
        const name = top.names[top.next++];
        if (name === undefined) {
          this.#patiently(() => this.#leave(top));
          continue;
        }
        const entry = this.#entry(top, name);
        if (entry !== undefined) yield entry;
      }
    } finally {
      for (const { fd } of this.#stack) if (fd >= 0) closeSync(fd);
    }
  }

  #entry(directory: OpenDirectory, name: Uint8Array): SourceEntry | undefined {
    const path = concatBytes(directory.path, SLASH, name);
    const stat = statOf(statAt(directory.fd, name), path);
    const type = stat.mode & S_IFMT;
    if (this.#excluder.excludes(path, type === S_IFDIR)) return undefined;
    if (this.#options.skipDevices && (type === S_IFCHR || type === S_IFBLK)) return undefined;
    const excluded = this.#excluded(stat, type);
    if (excluded !== undefined) {
      this.#options.warn(`${printable(path)} is the ${excluded}: left out`);
      return undefined;
    }
    const number = this.#entries++;
    const common = { parent: directory.entry, name, path };
    if (type !== S_IFDIR && stat.nlink > 1) {
      const key = identity(stat);
      const earlier = this.#links.get(key);
      if (earlier !== undefined) return { ...common, inode: { kind: 'link', to: earlier } };
      this.#links.set(key, number);
    }
    const metadata = this.#metadata(stat, directory.fd, name, path);
    if (type === S_IFREG) {
      const stamp = stampOf(stat, this.#fileSystems);
      const content: FileContent = {
        size: stat.size,
        stamp,
        open: () => openContent(directory.fd, name, stat, path),
      };
      return { ...common, inode: { kind: 'regular', metadata, content } };
    }
    if (type === S_IFLNK) {
      return { ...common, inode: { kind: 'symlink', metadata, target: targetOf(through(directory.fd, name), path) } };
    }
    if (type === S_IFDIR) this.#patiently(() => this.#enter(directory.fd, name, stat, path, number));
    return { ...common, inode: { kind: 'new', metadata } };
  }

  /**
   * Runs `work`, which opens a directory and changes nothing if it fails. If no more files can be opened, other parts
   * of this process or of the machine have them open: ancestors are closed, and then the threads get time to finish
   * their files.
   */
  #patiently(work: () => void): void {
    for (let tries = 0; ; tries++) {
      try {
        work();
        return;
      } catch (error) {
        if (tries === TRIES || !isOutOfFiles(error instanceof CfsError ? error.cause : error)) {
          throw error instanceof CfsError ? error : sourceError('read', this.#stack.at(-1)?.path ?? DOT, error);
        }
      }
      this.#closeAbove(1);
      if (tries > 0) Atomics.wait(never, 0, 0, RETRY_MS);
    }
  }

  /** @param kept the number of directories at the end that stay open */
  #closeAbove(kept: number): void {
    for (const directory of this.#stack.slice(0, -kept)) {
      if (directory.fd >= 0) closeSync(directory.fd);
      directory.fd = -1;
    }
  }

  /** The reason why the file must not be packed, if there is one. */
  #excluded(stat: FileStat, type: number): 'store' | 'image' | "image's signature" | undefined {
    if (type === S_IFDIR) return identity(stat) === this.#store ? 'store' : undefined;
    if (type !== S_IFREG || (this.#image ?? this.#signature) === undefined) return undefined;
    const file = identity(stat);
    return file === this.#image ? 'image' : file === this.#signature ? "image's signature" : undefined;
  }

  #enter(parent: number, name: Uint8Array, stat: FileStat, path: Uint8Array, entry: EntryNumber): void {
    if (this.#options.oneFileSystem && stat.device !== this.#device) return;
    const fd = openAt(parent, name, DIRECTORY_FLAGS);
    if (isErrno(fd)) throw sourceError('read', path, systemError(fd, 'open', ''));
    try {
      const opened = statOf(statFd(fd), path);
      // under a mount point statAt sees the mounted root too: the two differ only if it was replaced
      if (!isSameInode(opened, stat)) throw changed(path);
      this.#fileSystems.meet(opened.device, fd);
      this.#stack.push({
        fd,
        stat: opened,
        path,
        entry,
        names: this.#excluder.namesOf(fd, namesOf(fd, path)),
        next: 0,
      });
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    const far = this.#stack.at(-1 - Math.max(2, this.#options.openDirectories ?? MAX_OPEN));
    if (far !== undefined && far.fd >= 0) {
      closeSync(far.fd);
      far.fd = -1;
    }
  }

  /** Finishes a directory: entries that were added or removed during the walk changed its ctime. */
  #leave(directory: OpenDirectory): void {
    const now = statOf(statFd(directory.fd), directory.path);
    const { ctime, ctimeNsec, mtime, mtimeNsec } = directory.stat;
    if (now.ctimeNsec !== ctimeNsec || now.ctime !== ctime || now.mtimeNsec !== mtimeNsec || now.mtime !== mtime) {
      throw changed(directory.path);
    }
    const parent = this.#stack.at(-2);
    if (parent !== undefined && parent.fd < 0) {
      parent.fd = openSync(`/proc/self/fd/${directory.fd}/..`, DIRECTORY_FLAGS);
      if (!isSameInode(statOf(statFd(parent.fd), parent.path), parent.stat)) throw changed(parent.path);
    }
    closeSync(directory.fd);
    this.#stack.pop();
  }

  #metadata(stat: FileStat, directory: number, name: Uint8Array, path: Uint8Array): InodeMetadata {
    const { useEpoch, skipXattrs } = this.#options;
    return {
      mode: stat.mode,
      uid: stat.uid,
      gid: stat.gid,
      mtime: useEpoch ? 0 : stat.mtime,
      mtimeNsec: useEpoch ? 0 : stat.mtimeNsec,
      rdev: stat.rdev,
      xattrs: skipXattrs || hasNoXattrsAt(directory, name) ? [] : this.#xattrs(through(directory, name), path),
    };
  }

  #xattrs(at: Buffer, path: Uint8Array): Xattr[] {
    return xattrsAt(at, path).filter(([name]) => {
      if (!isPrivateXattr(name)) return true;
      this.#options.warn(
        `xattr ${printable(name)} of ${printable(path)} has a name that mounts answer themselves: left out`,
      );
      return false;
    });
  }
}

function identityAt(path: string | undefined): string | undefined {
  const stat = path === undefined ? undefined : statOfPath(path);
  return stat && identity(stat);
}

/** The status of a file that is left out; undefined if there is none. */
export function statOfPath(path: string): FileStat | undefined {
  let fd: number;
  try {
    fd = openSync(path, O_PATH);
  } catch {
    return undefined; // a file that has been deleted is not in the source either
  }
  try {
    const stat = statFd(fd);
    return isErrno(stat) ? undefined : stat;
  } finally {
    closeSync(fd);
  }
}

function stampOf(stat: FileStat, fileSystems: FileSystems): FileStamp | undefined {
  const fileSystem = fileSystems.trusted(stat.device);
  const inode = inodeOf(stat);
  if (fileSystem === undefined || !Number.isSafeInteger(inode)) return undefined;
  const { size, mtime, mtimeNsec, ctime, ctimeNsec } = stat;
  return { fileSystem, inode, size, mtime, mtimeNsec, ctime, ctimeNsec };
}

function namesOf(fd: number, path: Uint8Array): Uint8Array[] {
  try {
    return readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }).sort(compareBytes);
  } catch (error) {
    throw sourceError('read', path, error);
  }
}

/** The reader of the file checks that it still is the file of `stat`. */
function openContent(directory: number, name: Uint8Array, stat: FileStat, path: Uint8Array): OpenContent {
  const fd = openAt(directory, name, FILE_FLAGS);
  if (isErrno(fd)) throw sourceError('read', path, systemError(fd, 'open', ''));
  return { fd, state: stat };
}

function targetOf(at: Buffer, path: Uint8Array): Uint8Array {
  try {
    return readlinkSync(at, { encoding: 'buffer' });
  } catch (error) {
    throw sourceError('read', path, error);
  }
}
