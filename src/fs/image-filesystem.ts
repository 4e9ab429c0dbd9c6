/** The file system of an image: tables for names and inodes, an object store for contents. */
import { printable } from '../base/bytes.ts';
import { BLOCK_SIZE as HASHED_BLOCK } from '../base/digest.ts';
import {
  EINVAL,
  EISDIR,
  ENAMETOOLONG,
  ENODATA,
  ENOENT,
  ENOSYS,
  ENOTDIR,
  ENOTTY,
  ENXIO,
  type Errno,
  isErrno,
} from '../base/errno.ts';
import { shortened } from '../base/log.ts';
import { isPrivateXattr } from '../base/private-xattrs.ts';
import { S_IFLNK, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { ChangeTimes } from '../manifest/change-time.ts';
import { Holes } from '../manifest/holes.ts';
import {
  direntName,
  direntRange,
  inlineOf,
  isDirectory,
  linkTarget,
  lookupDirent,
  objectName,
  objectOf,
  parentOfDirectory,
  pathOfRow,
  rowOfId,
} from '../manifest/lookup.ts';
import { inodeCount, type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { BY_BLOCKS, type ContentSource } from '../objects/content-source.ts';
import { closeFd } from '../system/descriptors.ts';
import { type Caller, UNKNOWN_CALLER } from './caller.ts';
import type {
  Attributes,
  DirentSink,
  Filesystem,
  FilesystemFeatures,
  FilesystemStatistics,
  OpenFile,
} from './filesystem.ts';
import { hasAcls, ImageXattrs } from './image-xattrs.ts';
import { readFully } from './read-fully.ts';
import type { ReadingEvents } from './reading-events.ts';

/** An inode of an upper layer, whose content, if it has any, is there. */
export interface UpperInode {
  readonly ino: number;
  readonly generation: number;
  readonly size: number;
  readonly isRegular: boolean;
}

/** The data of a mount about itself and its files: private xattrs and ioctls. */
export interface PrivateAnswers {
  /**
   * The value of a private xattr of inode `row`; ENODATA if there is no such name.
   * @param row -1 if the inode is only in the upper layer
   * @param upper undefined if it is as the image has it
   */
  xattr(row: number, name: Uint8Array, caller?: Caller, upper?: UpperInode): Uint8Array | Errno;

  /** Answers an ioctl(2), as `Filesystem.ioctl`; the other parameters as for `xattr`. */
  ioctl(
    row: number,
    command: number,
    input: Uint8Array,
    room: number,
    caller?: Caller,
    upper?: UpperInode,
  ): Uint8Array | Errno;
}

/** Deviations of the shown file system from the image. */
export interface View {
  /** No `trusted.overlay.*` and `user.overlay.*`. */
  readonly hideOverlayXattrs?: boolean;
  /** Inode numbers by row, if they are not the stable ids. */
  readonly inodeNumbers?: Uint32Array;
}

type TellReading = ReadingEvents['tell'];

const DOT = 0x2e;
const SLASH = 0x2f;
const BLOCK_SIZE = 4096;
/** The unit of st_blocks. */
const SECTOR = 512;
const NAME_MAX = 255;
/** Characters of a path in a message: paths in an image may have any length. */
const LOGGED_PATH = 1_024;
/** The handle of content that needs no descriptor; 0 is stdin's and never an object's. */
const NO_DESCRIPTOR = 0;
const DOT_NAME = Uint8Array.of(DOT);
const DOTDOT_NAME = Uint8Array.of(DOT, DOT);

/** The features of the file system of an image, without one. @param openless of its content source */
export const featuresOf = (tables: ManifestTables, openless: boolean): FilesystemFeatures => ({
  acls: hasAcls(tables),
  openless,
});

export class ImageFilesystem implements Filesystem {
  readonly features: FilesystemFeatures;
  readonly slots: number;
  readonly #tables: ManifestTables;
  readonly #contents: ContentSource;
  readonly #statistics: FilesystemStatistics;
  readonly #tell: TellReading;
  readonly answers: PrivateAnswers | undefined;
  readonly #changeTimes: ChangeTimes;
  readonly #holes: Holes;
  readonly #xattrs: ImageXattrs;
  readonly #view: View;

  /**
   * @param tell notified of reads; feeds the read-ahead predictor
   * @param answers private xattrs and ioctls; there are none without it
   */
  constructor(
    tables: ManifestTables,
    contents: ContentSource,
    tell: TellReading = () => undefined,
    answers?: PrivateAnswers,
    view: View = {},
  ) {
    this.#view = view;
    this.#tables = tables;
    this.#contents = contents;
    this.#tell = tell;
    this.answers = answers;
    this.#changeTimes = new ChangeTimes(tables);
    this.#holes = new Holes(tables);
    this.slots = inodeCount(tables);
    this.features = featuresOf(tables, contents.openless);
    this.#xattrs = new ImageXattrs(tables, this.features.acls, view.hideOverlayXattrs === true);
    let blocks = 0;
    for (let i = 0; i < objectCount(tables); i++) blocks += Math.ceil(u64(tables.objects.size, i) / BLOCK_SIZE);
    this.#statistics = { blockSize: BLOCK_SIZE, blocks, files: this.slots, nameMax: NAME_MAX };
  }

  lookup(parent: number, name: Uint8Array, out: Attributes): Errno | 0 {
    const directory = rowOfId(this.#tables, parent);
    if (directory < 0) return ENOENT;
    if (name.length === 1 && (name[0] === DOT || name[0] === SLASH)) {
      // the kernel resolves a file handle by asking for "." of the inode, whatever its type (fs/fuse/inode.c,
      // fuse_get_dentry). The resulting dentry is its own parent and has the name "/" (fs/dcache.c, d_alloc_anon): with
      // that name an overlayfs asks whether it is still valid (fs/overlayfs/super.c, ovl_revalidate_real), and treats
      // any other inode as a stale file
      this.#fill(directory, out);
      return 0;
    }
    if (!isDirectory(this.#tables, directory)) return ENOTDIR;
    // the kernel sends names of up to 1,024 bytes (FUSE_NAME_MAX)
    if (name.length > NAME_MAX) return ENAMETOOLONG;
    const dotdot = name.length === 2 && name[0] === DOT && name[1] === DOT;
    if (dotdot) {
      this.#fill(parentOfDirectory(this.#tables, directory), out);
      return 0;
    }
    const dirent = lookupDirent(this.#tables, directory, name);
    if (dirent < 0) return ENOENT;
    this.#tell('looked', dirent);
    this.#fill(this.#tables.dirents.inode[dirent] as number, out);
    return 0;
  }

  getattr(ino: number, out: Attributes): Errno | 0 {
    const row = rowOfId(this.#tables, ino);
    if (row < 0) return ENOENT;
    this.#fill(row, out);
    return 0;
  }

  readdir(ino: number, from: number, out: Attributes, sink: DirentSink): Errno | 0 {
    const tables = this.#tables;
    const row = rowOfId(tables, ino);
    if (row < 0) return ENOENT;
    if (!isDirectory(tables, row)) return ENOTDIR;
    if (from === 0) {
      this.#tell('listed', row);
      this.#fill(row, out);
      if (!sink(DOT_NAME, 1)) return 0;
    }
    if (from <= 1) {
      this.#fill(parentOfDirectory(tables, row), out);
      if (!sink(DOTDOT_NAME, 2)) return 0;
    }
    const [begin, end] = direntRange(tables, row);
    // cookie 2 is the first entry after ".."; seeking to any other number that was never returned yields the end
    for (let dirent = begin + Math.max(from - 2, 0); dirent < end; dirent++) {
      this.#fill(tables.dirents.inode[dirent] as number, out);
      if (!sink(direntName(tables, dirent), dirent - begin + 3)) return 0;
    }
    return 0;
  }

  readlink(ino: number): Uint8Array | Errno {
    const row = rowOfId(this.#tables, ino);
    if (row < 0) return ENOENT;
    return this.#type(row) === S_IFLNK ? linkTarget(this.#tables, row) : EINVAL;
  }

  slotOf(ino: number): number {
    return rowOfId(this.#tables, ino);
  }

  sizeOf(slot: number): number {
    return u64(this.#tables.inodes.size, slot);
  }

  open(slot: number): OpenFile | Errno {
    if (slot < 0) return ENOENT;
    if (this.#type(slot) !== S_IFREG) return isDirectory(this.#tables, slot) ? EISDIR : EINVAL;
    const object = objectOf(this.#tables, slot);
    if (object < 0 || this.#contents.openless) return { fd: -1, identity: 0, handle: NO_DESCRIPTOR, slot };
    this.#tell('opened', slot);
    const fd = this.#contents.open(objectName(this.#tables, object), this.#pathFor(slot));
    if (fd === BY_BLOCKS) return { fd: -1, identity: 0, handle: NO_DESCRIPTOR, slot };
    return isErrno(fd) ? fd : { fd, identity: this.#contents.openedIdentity, handle: fd, slot };
  }

  current(slot: number): number {
    const object = objectOf(this.#tables, slot);
    return object < 0 ? -1 : this.#contents.current(objectName(this.#tables, object));
  }

  read(ino: number, handle: number, offset: number, into: Uint8Array): number | Errno {
    const row = rowOfId(this.#tables, ino);
    if (row < 0) return ENOENT;
    const size = u64(this.#tables.inodes.size, row);
    const length = Math.min(into.length, size - offset);
    if (length <= 0) return 0;
    return handle === NO_DESCRIPTOR
      ? this.#readByName(row, offset, into.subarray(0, length))
      : readFully(handle, into, length, offset);
  }

  #readByName(row: number, offset: number, into: Uint8Array): number | Errno {
    const inline = inlineOf(this.#tables, row);
    if (inline !== undefined) {
      into.set(inline.subarray(offset, offset + into.length));
      return into.length;
    }
    const object = objectOf(this.#tables, row);
    if (object < 0) return EINVAL;
    if (offset === 0 && this.features.openless) this.#tell('opened', row);
    return this.#contents.read(objectName(this.#tables, object), offset, into, this.#pathFor(row));
  }

  /** One path of an inode, escaped; undefined if there is no such inode. Scans all names. */
  pathOf(ino: number): string | undefined {
    const row = rowOfId(this.#tables, ino);
    return row < 0 ? undefined : this.#pathFor(row)();
  }

  /** The path for a message, computed only if there is one: it costs a scan of all names. */
  #pathFor(row: number): () => string {
    return () => shortened(printable(pathOfRow(this.#tables, row)), LOGGED_PATH);
  }

  release(handle: number): void {
    if (handle !== NO_DESCRIPTOR) closeFd(handle);
  }

  seek(ino: number, offset: number, hole: boolean): number | Errno {
    const row = rowOfId(this.#tables, ino);
    if (row < 0) return ENOENT;
    if (this.#type(row) !== S_IFREG) return EINVAL;
    if (!this.#holes.any) return ENOSYS;
    const size = u64(this.#tables.inodes.size, row);
    if (offset >= size) return ENXIO;
    const object = objectOf(this.#tables, row);
    const found = object < 0 ? (hole ? size : offset) : this.#holes.seek(object, offset, hole);
    return found < 0 ? ENXIO : found;
  }

  getxattr(ino: number, name: Uint8Array, caller: Caller = UNKNOWN_CALLER): Uint8Array | Errno {
    const row = rowOfId(this.#tables, ino);
    if (row < 0) return ENOENT;
    if (isPrivateXattr(name)) return this.answers?.xattr(row, name, caller) ?? ENODATA;
    return this.#xattrs.get(row, name);
  }

  listxattr(ino: number, caller: Caller = UNKNOWN_CALLER): Uint8Array | Errno {
    const row = rowOfId(this.#tables, ino);
    if (row < 0) return ENOENT;
    return this.#xattrs.list(row, caller);
  }

  ioctl(
    ino: number,
    command: number,
    input: Uint8Array,
    room: number,
    caller: Caller = UNKNOWN_CALLER,
  ): Uint8Array | Errno {
    const row = rowOfId(this.#tables, ino);
    if (row < 0) return ENOENT;
    return this.answers?.ioctl(row, command, input, room, caller) ?? ENOTTY;
  }

  statfs(): FilesystemStatistics {
    return this.#statistics;
  }

  #type(row: number): number {
    return (this.#tables.inodes.mode[row] as number) & S_IFMT;
  }

  /** Bytes of holes; only contents of several blocks are examined. */
  #holesOf(row: number, size: number): number {
    const object = size <= HASHED_BLOCK ? -1 : objectOf(this.#tables, row);
    return object < 0 ? 0 : this.#holes.bytesOf(object);
  }

  #fill(row: number, out: Attributes): void {
    const { id, generation, mode, nlink, uid, gid, rdev, size, mtime, mtimeNsec } = this.#tables.inodes;
    out.ino = u64(id, row);
    out.shownIno = this.#view.inodeNumbers === undefined ? out.ino : (this.#view.inodeNumbers[row] as number);
    out.generation = generation[row] as number;
    out.mode = mode[row] as number;
    out.nlink = nlink[row] as number;
    out.uid = uid[row] as number;
    out.gid = gid[row] as number;
    out.rdev = rdev[row] as number;
    out.size = u64(size, row);
    out.blocks = Math.ceil((out.size - this.#holesOf(row, out.size)) / SECTOR);
    out.mtimeLow = mtime[row * 2] as number;
    out.mtimeHigh = mtime[row * 2 + 1] as number;
    out.mtimeNsec = mtimeNsec[row] as number;
    this.#changeTimes.fill(row, out);
  }
}
