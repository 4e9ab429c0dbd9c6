/**
 * Hard links of the image without an index of the upper layer (`index=off`). As in overlayfs, copying up one of the
 * names breaks the link: the others keep showing the image's file. The kernel asks by inode and not by name, so each
 * name is an inode of its own from the beginning, with an id that depends on its place in the image alone.
 */
import { createDigest } from '../base/digest.ts';
import { directoryOfDirent, direntName, isDirectory, rowOfId } from '../manifest/lookup.ts';
import { inodeCount, type ManifestTables, u64 } from '../manifest/tables.ts';

const TWO_TO_32 = 0x1_0000_0000;
const TWO_TO_20 = 0x10_0000;

export class LinkNames {
  readonly #tables: ManifestTables;
  readonly #idOf = new Map<number, number>();
  readonly #direntOf = new Map<number, number>();

  /** One pass over all names of the image. */
  constructor(tables: ManifestTables) {
    this.#tables = tables;
    const isLinked = Uint8Array.from({ length: inodeCount(tables) }, (_, row) => (this.hasSeveral(row) ? 1 : 0));
    const { inode } = tables.dirents;
    for (let dirent = 0; dirent < inode.length; dirent++) {
      if (isLinked[inode[dirent] as number] === 0) continue;
      const id = this.#newId(dirent);
      this.#idOf.set(dirent, id);
      this.#direntOf.set(id, dirent);
    }
  }

  /** Whether an inode of the image is a file with several names. */
  hasSeveral(row: number): boolean {
    return (this.#tables.inodes.nlink[row] as number) > 1 && !isDirectory(this.#tables, row);
  }

  /** The id of a name of a file with several; undefined for another one. */
  idOf(dirent: number): number | undefined {
    return this.#idOf.get(dirent);
  }

  /** The inverse; undefined for any other id. */
  direntOf(id: number): number | undefined {
    return this.#direntOf.get(id);
  }

  #newId(dirent: number): number {
    const tables = this.#tables;
    const digest = createDigest('blake3');
    digest.update(direntName(tables, dirent));
    digest.update(new Uint8Array(1));
    digest.update(Buffer.from(`${u64(tables.inodes.id, directoryOfDirent(tables, dirent))}`));
    const words = new Uint32Array(digest.digest().slice(0, 8).buffer);
    for (let id = ((words[1] as number) % TWO_TO_20) * TWO_TO_32 + (words[0] as number); ; id++) {
      if (id > TWO_TO_32 && rowOfId(tables, id) < 0 && !this.#direntOf.has(id)) return id;
    }
  }
}
