/**
 * A writable mount of cfs as a source: the tables of its image, and what its upper layer changes, which the mount
 * lists. So only files that were changed are read. The tree is the one that a walk of the mount finds. A mount that
 * cannot be packed so is walked like any other directory.
 *
 * Nothing is frozen. At the end, the mount lists what changed since the beginning: if anything did, packing fails.
 */
import { constants, lstatSync, readlinkSync } from 'node:fs';
import { concatBytes, latin1, printable } from '../../base/bytes.ts';
import type { ContentDigest, HashAlgorithm } from '../../base/digest.ts';
import { isErrno } from '../../base/errno.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import type { InodeMetadata } from '../../manifest/builder.ts';
import { direntName, direntRange, inlineOf, linkTarget, objectOf, rowOfId, xattrsOf } from '../../manifest/lookup.ts';
import { i64, u64 } from '../../manifest/tables.ts';
import type { Xattr } from '../../manifest/xattr-sets.ts';
import type { ChangeRecord } from '../../mount-info/change-records.ts';
import { openBeneath, openHow } from '../../system/beneath.ts';
import { statFd } from '../../system/file-status.ts';
import { systemError } from '../../system/libc.ts';
import type { FileContent, FileStamp, KnownContent, OpenContent, SourceEntry, SyncSource } from '../source.ts';
import { type ChangedDirectory, changedTree } from './changed-tree.ts';
import { ImageContents } from './image-contents.ts';
import { requireUnchanged, type WritableMount } from './mount-state.ts';
import { changed, sourceError } from './source-error.ts';
import { xattrsAt } from './xattrs.ts';

export interface WritableMountOptions {
  readonly useEpoch: boolean;
  readonly skipXattrs: boolean;
  readonly skipDevices: boolean;
  /** Inodes of the mount that are left out, with the reason. */
  readonly exclude: ReadonlyMap<number, string>;
  /** Undefined: contents are where the image has them. */
  readonly inlineMax: number | undefined;
  /** Of the image that is made. */
  readonly hash: HashAlgorithm;
  /** Whether the repository has the object of a content of the image; undefined if it cannot have any. */
  readonly holds: ((content: ContentDigest) => boolean) | undefined;
  readonly warn: (line: string) => void;
  /** Called at the end of the work. */
  readonly close: () => void;
}

const READ = openHow(constants.O_RDONLY | constants.O_NONBLOCK);
const TWO_TO_32 = 0x1_0000_0000;
const SLASH = Uint8Array.of(0x2f);
const NUL = Uint8Array.of(0);
/** An entry with a path that is made when it is asked for: most of a million are not. */
class LazyEntry implements SourceEntry {
  readonly parent: number;
  readonly name: Uint8Array;
  readonly inode: SourceEntry['inode'];
  readonly #path: () => Uint8Array;

  constructor(parent: number, name: Uint8Array, inode: SourceEntry['inode'], path: () => Uint8Array) {
    this.parent = parent;
    this.name = name;
    this.inode = inode;
    this.#path = path;
  }

  get path(): Uint8Array {
    return this.#path();
  }
}

interface Level {
  readonly entry: number;
  /** In the mount. */
  readonly path: Uint8Array;
  readonly changes: ChangedDirectory | undefined;
  /** The directory of the image, -1 for none. */
  readonly row: number;
}

export class WritableMountSource implements SyncSource {
  readonly root: InodeMetadata;
  readonly name: string;
  readonly #mount: WritableMount;
  readonly #options: WritableMountOptions;
  readonly #tree: ChangedDirectory;
  readonly #contents: ImageContents;
  readonly #links = new Map<number, number>();
  #entries = 1;

  constructor(mount: WritableMount, options: WritableMountOptions) {
    this.#mount = mount;
    this.#options = options;
    this.name = mount.name;
    const { root, tree } = changedTree(mount.changes.records);
    this.#tree = tree;
    this.#contents = new ImageContents(mount.tables);
    this.root = root === undefined ? this.#ofImage(0) : this.#ofRecord(root, SLASH);
  }

  *entries(): Generator<SourceEntry> {
    const levels: Level[] = [{ entry: 0, path: new Uint8Array(), changes: this.#tree, row: 0 }];
    for (let level = levels.pop(); level !== undefined; level = levels.pop()) {
      yield* this.#names(level, levels);
    }
  }

  finish(): void {
    requireUnchanged(this.#mount);
  }

  close(): void {
    this.#options.close();
  }

  /** The names of a directory: those of the image that are unchanged, then the others. @param below gets directories */
  *#names({ entry: parent, path: directory, changes, row: lower }: Level, below: Level[]): Generator<SourceEntry> {
    const names = changes?.names;
    if (lower >= 0) {
      const { tables } = this.#mount;
      const [from, to] = direntRange(tables, lower);
      for (let dirent = from; dirent < to; dirent++) {
        const name = direntName(tables, dirent);
        const change = names === undefined ? undefined : names.get(latin1(name));
        if (change !== undefined && (change.record !== undefined || change.isGone)) continue;
        const row = tables.dirents.inode[dirent] as number;
        const path = (): Uint8Array => pathIn(directory, name);
        const found = this.#imageEntry(path, row);
        if (found === undefined) continue;
        const { entry, inode: what } = found;
        yield new LazyEntry(parent, name, what, () => this.#full(path()));
        if (isDirectory(tables.inodes.mode[row] as number)) {
          below.push({ entry, path: path(), changes: change?.below, row });
        }
      }
    }
    for (const { bytes: name, record, below: changesBelow } of names?.values() ?? []) {
      if (record === undefined) continue;
      const path = pathIn(directory, name);
      const found = this.#recordEntry(record, path);
      if (found === undefined) continue;
      yield { parent, name, path: this.#full(path), inode: found.inode };
      if (!isDirectory(record.mode)) continue;
      const row = record.lower === 0 ? -1 : this.#rowOf(record.lower, path);
      below.push({ entry: found.entry, path, changes: changesBelow, row });
    }
  }

  #full(path: Uint8Array): Uint8Array {
    return Buffer.concat([this.#mount.path, path]);
  }

  /** Undefined if it is left out. */
  #imageEntry(
    path: () => Uint8Array,
    row: number,
  ): { readonly entry: number; readonly inode: SourceEntry['inode'] } | undefined {
    const { tables } = this.#mount;
    const { inodes } = tables;
    const mode = inodes.mode[row] as number;
    if (this.#isLeftOut(() => this.#inoOf(row, path), mode, path)) return undefined;
    const entry = this.#entries++;
    if (!isDirectory(mode) && (inodes.nlink[row] as number) > 1) {
      const to = this.#earlier(this.#inoOf(row, path), entry);
      if (to !== undefined) return { entry, inode: { kind: 'link', to } };
    }
    const metadata = this.#ofImage(row);
    const type = mode & S_IFMT;
    if (type === S_IFLNK) return { entry, inode: { kind: 'symlink', metadata, target: linkTarget(tables, row) } };
    if (type !== S_IFREG) return { entry, inode: { kind: 'new', metadata } };
    const size = u64(inodes.size, row);
    const known = this.#known(row);
    const content: FileContent = {
      size,
      stamp: undefined,
      known,
      open: () => this.#open(path(), this.#inoOf(row, path)),
    };
    return { entry, inode: { kind: 'regular', metadata, content } };
  }

  #recordEntry(
    record: ChangeRecord,
    path: Uint8Array,
  ): { readonly entry: number; readonly inode: SourceEntry['inode'] } | undefined {
    const { mode, ino, nlink, size, lower } = record;
    if (
      this.#isLeftOut(
        () => ino,
        mode,
        () => path,
      )
    )
      return undefined;
    const entry = this.#entries++;
    if (!isDirectory(mode) && nlink > 1) {
      const to = this.#earlier(ino, entry);
      if (to !== undefined) return { entry, inode: { kind: 'link', to } };
    }
    const metadata = this.#ofRecord(record, path);
    const type = mode & S_IFMT;
    if (type === S_IFLNK) return { entry, inode: { kind: 'symlink', metadata, target: this.#target(path) } };
    if (type !== S_IFREG) return { entry, inode: { kind: 'new', metadata } };
    const content: FileContent = {
      size,
      stamp: lower === 0 ? this.#stamp(record) : undefined,
      known: lower === 0 ? undefined : this.#known(this.#rowOf(lower, path)),
      open: () => this.#open(path, ino, record),
    };
    return { entry, inode: { kind: 'regular', metadata, content } };
  }

  /** The entry of another name of the inode, if there was one. */
  #earlier(ino: number, entry: number): number | undefined {
    const earlier = this.#links.get(ino);
    if (earlier === undefined) this.#links.set(ino, entry);
    return earlier;
  }

  /** The inode number in the mount of an inode of the image. */
  #inoOf(row: number, path: () => Uint8Array): number {
    const { tables, changes } = this.#mount;
    if (!changes.isRebased) return u64(tables.inodes.id, row);
    try {
      return lstatSync(this.#through(path())).ino;
    } catch (error) {
      throw sourceError('read', this.#full(path()), error);
    }
  }

  #isLeftOut(inoOf: () => number, mode: number, path: () => Uint8Array): boolean {
    const type = mode & S_IFMT;
    if (this.#options.skipDevices && (type === S_IFCHR || type === S_IFBLK)) return true;
    const reason = this.#options.exclude.size === 0 ? undefined : this.#options.exclude.get(inoOf());
    if (reason === undefined) return false;
    this.#options.warn(`${printable(this.#full(path()))} is the ${reason}: left out`);
    return true;
  }

  #rowOf(ino: number, path: Uint8Array): number {
    const row = rowOfId(this.#mount.tables, ino);
    if (row < 0) throw changed(this.#full(path));
    return row;
  }

  #ofImage(row: number): InodeMetadata {
    const { tables, seesTrusted } = this.#mount;
    const { mode, uid, gid, mtime, mtimeNsec, rdev } = tables.inodes;
    const { useEpoch, skipXattrs } = this.#options;
    const xattrs = skipXattrs ? [] : xattrsOf(tables, row);
    return {
      mode: mode[row] as number,
      uid: uid[row] as number,
      gid: gid[row] as number,
      mtime: useEpoch ? 0 : Number(i64(mtime, row)),
      mtimeNsec: useEpoch ? 0 : (mtimeNsec[row] as number),
      rdev: rdev[row] as number,
      xattrs: seesTrusted ? xattrs : xattrs.filter(([name]) => !isTrusted(name)),
    };
  }

  #ofRecord(record: ChangeRecord, path: Uint8Array): InodeMetadata {
    const { mode, uid, gid, mtime, mtimeNsec, rdev, hasXattrs } = record;
    const { useEpoch, skipXattrs } = this.#options;
    return {
      mode,
      uid,
      gid,
      mtime: useEpoch ? 0 : mtime,
      mtimeNsec: useEpoch ? 0 : mtimeNsec,
      rdev,
      xattrs: skipXattrs || !hasXattrs ? [] : this.#xattrs(path),
    };
  }

  #xattrs(path: Uint8Array): readonly Xattr[] {
    return xattrsAt(this.#through(path), this.#full(path));
  }

  #target(path: Uint8Array): Uint8Array {
    try {
      return readlinkSync(this.#through(path), { encoding: 'buffer' });
    } catch (error) {
      throw sourceError('read', this.#full(path), error);
    }
  }

  #through(path: Uint8Array): Buffer {
    return Buffer.concat([Buffer.from(`/proc/self/fd/${this.#mount.root}`), path]);
  }

  /** The content of an inode of the image, if it need not be read. */
  #known(row: number): KnownContent | undefined {
    const { tables } = this.#mount;
    const { inlineMax, holds, hash } = this.#options;
    const inline = inlineOf(tables, row);
    const isSmall = inlineMax === undefined ? inline !== undefined : u64(tables.inodes.size, row) <= inlineMax;
    const generation = tables.inodes.generation[row] as number;
    if (inline !== undefined) {
      return isSmall && hash === tables.header.hash
        ? { content: this.#contents.ofInline(inline), inline, generation }
        : undefined;
    }
    if (isSmall || holds === undefined) return undefined;
    const content = this.#contents.ofObject(objectOf(tables, row));
    return holds(content) ? { content, generation } : undefined;
  }

  /** The state of a file of the upper layer, for what packing remembers. */
  #stamp({ upper: inode, size, mtime, mtimeNsec, ctime, ctimeNsec, isChanging }: ChangeRecord): FileStamp | undefined {
    const { upper: fileSystem } = this.#mount;
    if (fileSystem === undefined || isChanging || !Number.isSafeInteger(inode)) return undefined;
    return { fileSystem, inode, size, mtime, mtimeNsec, ctime, ctimeNsec };
  }

  /**
   * A file that is written between its record and this call has another state than its record. That is found at the
   * end (`requireUnchanged`), by the server's answer. The ctime here need not be that of the record: a kernel that
   * collects writes keeps a ctime of its own.
   * @param record of a file of the upper layer, which must have this size
   */
  #open(path: Uint8Array, ino: number, record?: ChangeRecord): OpenContent {
    const { root, device } = this.#mount;
    const fd = openBeneath(root, Buffer.concat([path.subarray(1), NUL]), READ);
    if (isErrno(fd)) throw sourceError('read', this.#full(path), systemError(fd, 'open', ''));
    const identity = { device, inodeHigh: Math.floor(ino / TWO_TO_32), inodeLow: ino >>> 0 };
    const stat = statFd(fd);
    if (isErrno(stat)) throw sourceError('read', this.#full(path), systemError(stat, 'statx', ''));
    return { fd, state: { ...stat, ...identity, ...(record === undefined ? {} : { size: record.size }) } };
  }
}

const isDirectory = (mode: number): boolean => (mode & S_IFMT) === S_IFDIR;
const pathIn = (directory: Uint8Array, name: Uint8Array): Uint8Array => concatBytes(directory, SLASH, name);
const isTrusted = (name: Uint8Array): boolean => Buffer.from(name.subarray(0, 8)).toString('latin1') === 'trusted.';
