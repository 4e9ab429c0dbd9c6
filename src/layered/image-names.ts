/** The names of inodes in the image: found backwards, from the inode. */
import { directoryOfDirent, direntName } from '../manifest/lookup.ts';
import { inodeCount, type ManifestTables, u64 } from '../manifest/tables.ts';

const NONE = 0xffff_ffff;

export interface ImageName {
  /** The id of the directory. */
  readonly parent: number;
  readonly name: Uint8Array;
}

export class ImageNames {
  readonly #tables: ManifestTables;
  /** A dirent for each inode; made when it is first needed, by one pass over all dirents. */
  #direntOf: Uint32Array | undefined;

  constructor(tables: ManifestTables) {
    this.#tables = tables;
  }

  /** One name of an inode, the first of the tables; undefined for the root. */
  nameOf(row: number): ImageName | undefined {
    this.#direntOf ??= this.#invert();
    const dirent = this.#direntOf[row] as number;
    return dirent === NONE ? undefined : this.nameAt(dirent);
  }

  /** The name that a dirent has. */
  nameAt(dirent: number): ImageName {
    const tables = this.#tables;
    return { parent: u64(tables.inodes.id, directoryOfDirent(tables, dirent)), name: direntName(tables, dirent) };
  }

  /** The path of an inode in the image, as names from the root. */
  pathOf(row: number): Uint8Array[] {
    const tables = this.#tables;
    this.#direntOf ??= this.#invert();
    const path: Uint8Array[] = [];
    for (let at = row; ; ) {
      const dirent = this.#direntOf[at] as number;
      if (dirent === NONE) return path.reverse();
      path.push(direntName(tables, dirent));
      at = directoryOfDirent(tables, dirent);
    }
  }

  /** The dirent that `nameOf` reads; NONE for the root. */
  direntOf(row: number): number {
    this.#direntOf ??= this.#invert();
    return this.#direntOf[row] as number;
  }

  #invert(): Uint32Array {
    const { inode } = this.#tables.dirents;
    const direntOf = new Uint32Array(inodeCount(this.#tables)).fill(NONE);
    for (let dirent = inode.length - 1; dirent >= 0; dirent--) direntOf[inode[dirent] as number] = dirent;
    return direntOf;
  }
}
