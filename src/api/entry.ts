/** A name in the tree of an image. */
import { toHex } from '../base/bytes.ts';
import { pathText } from '../base/path-text.ts';
import * as stat from '../base/stat-bits.ts';
import { linkTarget, objectDigest, objectOf, xattrsOf } from '../manifest/lookup.ts';
import * as tables from '../manifest/tables.ts';

/**
 * What a name of an image is.
 * @example
 * import { type FileType, openImage } from 'cfs/image';
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
 * A name of an image, and what it is: as lstat(2) has it. Values are read when they are asked for.
 * @example
 * import { type ImageEntry, openImage } from 'cfs/image';
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

  /** Its absolute path. A byte that is not UTF-8 is a lone surrogate, U+DC80 to U+DCFF: `pathBytes` has the exact ones. */
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

  /** The number that mounts show, and that other versions of the image have for the same file. */
  get inode(): number {
    return tables.u64(this.#tables.inodes.id, this.#row);
  }

  /** Names of the same file, itself included. */
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

  /** `st_rdev` of a device; 0 for all else. */
  get device(): number {
    return this.#tables.inodes.rdev[this.#row] as number;
  }

  /** The target of a symbolic link. */
  get target(): Uint8Array | undefined {
    return this.type === 'symlink' ? linkTarget(this.#tables, this.#row).slice() : undefined;
  }

  /** The digest of the object that holds the content, hexadecimal; undefined where the image holds it, and for all but files. */
  get digest(): string | undefined {
    const object = objectOf(this.#tables, this.#row);
    return object < 0 ? undefined : toHex(objectDigest(this.#tables, object));
  }

  /** Extended attributes by name. */
  get xattrs(): ReadonlyMap<string, Uint8Array> {
    return new Map(xattrsOf(this.#tables, this.#row).map(([name, value]) => [pathText(name), value.slice()]));
  }
}
