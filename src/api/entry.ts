/** A name in the tree of an image. */
import { pathText } from '../base/path-text.ts';
import * as stat from '../base/stat-bits.ts';
import { linkTarget, objectHex, objectOf, xattrsOf } from '../manifest/lookup.ts';
import * as tables from '../manifest/tables.ts';

/**
 * The types of files in an image.
 * @example
 * import { type FileType, openImage } from '@cfs-images/cfs/image';
 *
 * const counts = new Map<FileType, number>();
 * for (const { type } of openImage('/srv/rootfs.cfs').walk()) counts.set(type, (counts.get(type) ?? 0) + 1);
 */
export type FileType = 'file' | 'directory' | 'symlink' | 'block-device' | 'character-device' | 'fifo' | 'socket';

const TYPES: Readonly<Record<number, FileType>> = {
  [stat.S_IFREG]: 'file',
  [stat.S_IFDIR]: 'directory',
  [stat.S_IFLNK]: 'symlink',
  [stat.S_IFBLK]: 'block-device',
  [stat.S_IFCHR]: 'character-device',
  [stat.S_IFIFO]: 'fifo',
  [stat.S_IFSOCK]: 'socket',
};

/**
 * A name of an image and its file, with the data of lstat(2). Values are read on access.
 * @example
 * import { type ImageEntry, openImage } from '@cfs-images/cfs/image';
 *
 * const line = ({ type, mode, size, digest }: ImageEntry): string => [type, mode.toString(8), size, digest].join(' ');
 * const entry = openImage('/srv/rootfs.cfs').lookup('/etc/hostname');
 * if (entry !== undefined) console.log(line(entry));
 */
export class ImageEntry {
  readonly #tables: tables.ManifestTables;
  readonly #row: number;
  /** The bytes of its absolute path; "/" for the root. */
  readonly pathBytes: Uint8Array;

  /** Entries come from an image. */
  constructor(from: tables.ManifestTables, row: number, path: Uint8Array) {
    this.#tables = from;
    this.#row = row;
    this.pathBytes = path;
  }

  /**
   * Its absolute path. A byte that is not UTF-8 becomes a lone surrogate, U+DC80 to U+DCFF: `pathBytes` has the exact
   * bytes.
   */
  get path(): string {
    return pathText(this.pathBytes);
  }

  get type(): FileType {
    return TYPES[this.mode & stat.S_IFMT] as FileType;
  }

  /** `st_mode`: the type, and the permissions in the lowest 12 bits. */
  get mode(): number {
    return this.#tables.inodes.mode[this.#row] as number;
  }

  /** In bytes. */
  get size(): number {
    return tables.u64(this.#tables.inodes.size, this.#row);
  }

  /** The number that mounts show, and that the same file has in other versions of the image. */
  get inode(): number {
    return tables.u64(this.#tables.inodes.id, this.#row);
  }

  /** The number of names of the same file, including this one. */
  get links(): number {
    return this.#tables.inodes.nlink[this.#row] as number;
  }

  get uid(): number {
    return this.#tables.inodes.uid[this.#row] as number;
  }

  get gid(): number {
    return this.#tables.inodes.gid[this.#row] as number;
  }

  /** Time of the last change, in nanoseconds since 1970. */
  get mtimeNs(): bigint {
    const { mtime, mtimeNsec } = this.#tables.inodes;
    return tables.i64(mtime, this.#row) * 1_000_000_000n + BigInt(mtimeNsec[this.#row] as number);
  }

  /** `st_rdev` of a device; 0 for other files. */
  get device(): number {
    return this.#tables.inodes.rdev[this.#row] as number;
  }

  /** The target of a symbolic link. */
  get target(): Uint8Array | undefined {
    return this.type === 'symlink' ? linkTarget(this.#tables, this.#row).slice() : undefined;
  }

  /**
   * The digest of the object with the content, hexadecimal; undefined if the image itself has the content, and if the
   * type is not `file`.
   */
  get digest(): string | undefined {
    const object = objectOf(this.#tables, this.#row);
    return object < 0 ? undefined : objectHex(this.#tables, object);
  }

  /** Extended attributes by name. */
  get xattrs(): ReadonlyMap<string, Uint8Array> {
    return new Map(xattrsOf(this.#tables, this.#row).map(([name, value]) => [pathText(name), value.slice()]));
  }
}
