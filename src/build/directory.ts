/**
 * A directory as a source. Every step goes from an open directory to a name in it, through
 * /proc/self/fd/N/NAME (node has no openat), and never through a symbolic link: nobody who moves or
 * replaces things meanwhile leads it out of the tree, and no path is too long.
 */
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  statSync,
} from 'node:fs';
import { compareBytes, concatBytes, printable } from '../bytes.ts';
import { ENODATA, ENOENT, EOPNOTSUPP, type Errno, errnoOf, isErrno } from '../errno.ts';
import { CfsError, reasonOf } from '../error.ts';
import type { InodeMetadata, Xattr } from '../manifest/builder.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../manifest/tables.ts';
import { getXattr, listXattrs, systemError } from '../syscall.ts';
import type { EntryNumber, OpenContent, Source, SourceEntry } from './source.ts';

export interface DirectoryOptions {
  /** All times become 1970-01-01 00:00:00. */
  readonly useEpoch: boolean;
  readonly skipXattrs: boolean;
  /** Leave out character and block devices. */
  readonly skipDevices: boolean;
  /** Do not enter other file systems; their mount points become empty directories. */
  readonly oneFileSystem: boolean;
  /** A directory that is left out wherever it is met: the store that is being written. */
  readonly exclude?: string;
  /** Told of what was left out. */
  readonly warn: (line: string) => void;
}

/** Directories kept open on the way down; ancestors beyond are reopened through "..". */
const MAX_OPEN = 128;
const DIRECTORY_FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const SLASH = Uint8Array.of(0x2f);

interface OpenDirectory {
  /** -1 while closed to save descriptors. */
  fd: number;
  readonly stat: BigIntStats;
  readonly path: Uint8Array;
  readonly entry: EntryNumber;
  readonly names: readonly Uint8Array[];
  next: number;
}

function sourceError(action: string, path: Uint8Array, error: unknown): CfsError {
  const gone = errnoOf(error) === ENOENT ? ' It vanished while it was packed.' : '';
  return new CfsError('source', `Cannot ${action} ${printable(path)}: ${reasonOf(error)}.${gone}`, { cause: error });
}

const changed = (path: Uint8Array): CfsError =>
  new CfsError(
    'source',
    `Cannot pack ${printable(path)}: it changed while it was packed. Pack a snapshot, or stop what writes to it.`,
  );

/** Which inode a stat is of. */
const identity = (stat: BigIntStats): string => `${stat.dev}:${stat.ino}`;

/** @throws CfsError (source) where `path` is no directory that can be read */
export function openDirectorySource(path: string, options: DirectoryOptions): Source {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw new CfsError('source', `Cannot pack ${path}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    return new DirectorySource(fd, Buffer.from(path), options);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

class DirectorySource implements Source {
  readonly root: InodeMetadata;
  readonly #options: DirectoryOptions;
  readonly #stack: OpenDirectory[] = [];
  readonly #links = new Map<string, EntryNumber>();
  readonly #device: bigint;
  readonly #excluded: string | undefined;
  #entries = 1;

  constructor(fd: number, path: Uint8Array, options: DirectoryOptions) {
    this.#options = options;
    const stat = fstatSync(fd, { bigint: true });
    this.#device = stat.dev;
    const excluded =
      options.exclude === undefined ? undefined : statSync(options.exclude, { bigint: true, throwIfNoEntry: false });
    this.#excluded = excluded === undefined ? undefined : identity(excluded);
    if (identity(stat) === this.#excluded) {
      throw new CfsError('source', `Cannot pack ${printable(path)}: it is the store that the objects go to`);
    }
    const self = Buffer.from(`/proc/self/fd/${fd}/.`);
    this.root = this.#metadata(stat, self, path);
    this.#stack.push({ fd, stat, path, entry: 0, names: namesOf(fd, path), next: 0 });
  }

  *entries(): Generator<SourceEntry> {
    try {
      for (let top = this.#stack.at(-1); top !== undefined; top = this.#stack.at(-1)) {
        const name = top.names[top.next++];
        if (name === undefined) {
          this.#leave(top);
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
    const at = Buffer.concat([Buffer.from(`/proc/self/fd/${directory.fd}/`), name]);
    let stat: BigIntStats;
    try {
      stat = lstatSync(at, { bigint: true });
    } catch (error) {
      throw sourceError('read', path, error);
    }
    const type = Number(stat.mode) & S_IFMT;
    if (this.#options.skipDevices && (type === S_IFCHR || type === S_IFBLK)) return undefined;
    if (type === S_IFDIR && identity(stat) === this.#excluded) {
      this.#options.warn(`${printable(path)} is the store: left out`);
      return undefined;
    }
    const number = this.#entries++;
    const common = { parent: directory.entry, name, path };
    if (type !== S_IFDIR && stat.nlink > 1n) {
      const key = identity(stat);
      const earlier = this.#links.get(key);
      if (earlier !== undefined) return { ...common, inode: { kind: 'link', to: earlier } };
      this.#links.set(key, number);
    }
    const metadata = this.#metadata(stat, at, path);
    if (type === S_IFREG)
      return { ...common, inode: { kind: 'regular', metadata, content: openContent(at, stat, path) } };
    if (type === S_IFLNK) return { ...common, inode: { kind: 'symlink', metadata, target: targetOf(at, path) } };
    if (type === S_IFDIR) this.#enter(at, stat, path, number);
    return { ...common, inode: { kind: 'new', metadata } };
  }

  #enter(at: Buffer, stat: BigIntStats, path: Uint8Array, entry: EntryNumber): void {
    if (this.#options.oneFileSystem && stat.dev !== this.#device) return;
    let fd: number;
    try {
      fd = openSync(at, DIRECTORY_FLAGS);
    } catch (error) {
      throw sourceError('read', path, error);
    }
    try {
      const opened = fstatSync(fd, { bigint: true });
      // what lstat saw under a mount point is the mounted root too: the two differ only where somebody replaced it
      if (identity(opened) !== identity(stat)) throw changed(path);
      this.#stack.push({ fd, stat: opened, path, entry, names: namesOf(fd, path), next: 0 });
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    const far = this.#stack.at(-1 - MAX_OPEN);
    if (far !== undefined && far.fd >= 0) {
      closeSync(far.fd);
      far.fd = -1;
    }
  }

  /** Ends a directory: what came or went in it meanwhile changed its ctime. */
  #leave(directory: OpenDirectory): void {
    const now = fstatSync(directory.fd, { bigint: true });
    if (now.ctimeNs !== directory.stat.ctimeNs || now.mtimeNs !== directory.stat.mtimeNs) {
      throw changed(directory.path);
    }
    const parent = this.#stack.at(-2);
    if (parent !== undefined && parent.fd < 0) {
      parent.fd = openSync(`/proc/self/fd/${directory.fd}/..`, DIRECTORY_FLAGS);
      if (identity(fstatSync(parent.fd, { bigint: true })) !== identity(parent.stat)) throw changed(parent.path);
    }
    closeSync(directory.fd);
    this.#stack.pop();
  }

  #metadata(stat: BigIntStats, at: Buffer, path: Uint8Array): InodeMetadata {
    const epoch = this.#options.useEpoch;
    // floor division: half a second before 1970 is second -1 and 500,000,000 ns
    const nsec = ((stat.mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
    return {
      mode: Number(stat.mode),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtime: epoch ? 0 : Number((stat.mtimeNs - nsec) / 1_000_000_000n),
      mtimeNsec: epoch ? 0 : Number(nsec),
      // glibc's dev_t has the kernel's 32-bit encoding in its low half
      rdev: Number(stat.rdev & 0xffffffffn),
      xattrs: this.#options.skipXattrs ? [] : xattrsAt(at, path),
    };
  }
}

function namesOf(fd: number, path: Uint8Array): Uint8Array[] {
  try {
    return readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }).sort(compareBytes);
  } catch (error) {
    throw sourceError('read', path, error);
  }
}

function openContent(at: Buffer, stat: BigIntStats, path: Uint8Array): OpenContent {
  let fd: number;
  try {
    fd = openSync(at, FILE_FLAGS);
  } catch (error) {
    throw sourceError('read', path, error);
  }
  const opened = fstatSync(fd, { bigint: true });
  if (identity(opened) !== identity(stat) || opened.ctimeNs !== stat.ctimeNs || opened.size !== stat.size) {
    closeSync(fd);
    throw changed(path);
  }
  // as node computes Stats.ctimeMs from the same two numbers, so that both can be compared
  const ctimeMs = Number(stat.ctimeNs / 1_000_000_000n) * 1000 + Number(stat.ctimeNs % 1_000_000_000n) / 1e6;
  return { fd, size: Number(stat.size), device: Number(stat.dev), ctimeMs };
}

function targetOf(at: Buffer, path: Uint8Array): Uint8Array {
  try {
    return readlinkSync(at, { encoding: 'buffer' });
  } catch (error) {
    throw sourceError('read', path, error);
  }
}

const isKept = (name: Uint8Array): boolean =>
  /^(?:user|trusted|security)\.|^system\.posix_acl_(?:access|default)$/.test(Buffer.from(name).toString('latin1'));

/** The attributes of the namespaces that an image keeps; others (system.nfs4_acl, btrfs.*) belong to their file system. */
function xattrsAt(at: Buffer, path: Uint8Array): Xattr[] {
  const fail = (errno: Errno): CfsError => sourceError('read the xattrs of', path, systemError(errno, 'getxattr', ''));
  const names = listXattrs(at);
  if (isErrno(names)) {
    if (names === EOPNOTSUPP) return [];
    throw fail(names);
  }
  return names.filter(isKept).flatMap((name): Xattr[] => {
    const value = getXattr(at, name);
    if (!isErrno(value)) return [[name, value]];
    if (value === ENODATA) return []; // listed, but not for this process to see, or gone: ctime tells
    throw fail(value);
  });
}
