/**
 * Where inodes of the image have gone. The inode says it: a file that was moved keeps its id. Of an inode with several
 * names, those that are gone and those that are new are pairs, in the order of the tables and of the bytes: one of
 * each.
 */
import { compareBytes } from '../../base/bytes.ts';
import { directoryOfDirent, direntName } from '../../manifest/lookup.ts';
import { u64 } from '../../manifest/tables.ts';
import { type Name, ORPHAN, UPPER } from '../../upper/identity-table.ts';
import { isDirectoryMode } from '../directories.ts';
import { isSeenAt } from '../handles.ts';
import type { Layer } from '../layer.ts';
import { pathFrom } from '../paths.ts';

export class Origins {
  readonly #layer: Layer;
  /** For an inode with several names: its dirents. */
  #linked: ReadonlyMap<number, readonly number[]> | undefined;

  constructor(layer: Layer) {
    this.#layer = layer;
  }

  /** The id of what the image has at a dirent. */
  idAt(dirent: number): number {
    const { linkNames, tables } = this.#layer;
    const inode = tables.dirents.inode[dirent] as number;
    return (linkNames?.hasSeveral(inode) === true ? linkNames.idOf(dirent) : undefined) ?? u64(tables.inodes.id, inode);
  }

  /**
   * Whether what the image has at a dirent is seen elsewhere.
   * @param dirent of a name that is gone, or has another file
   */
  isMoved(dirent: number): boolean {
    const { tables, table } = this.#layer;
    const inode = tables.dirents.inode[dirent] as number;
    const row = table.find(this.idAt(dirent));
    if (row < 0 || (table.flags(row) & (UPPER | ORPHAN)) !== UPPER || table.nameCount(row) === 0) return false;
    return !this.isLinked(inode) || this.#pairs(row, inode).some(([gone]) => gone === dirent);
  }

  /** The dirent that the name of a row is renamed from; -1 if it is another name. @param inode of the image */
  oldName(row: number, inode: number, parent: number, name: Uint8Array): number {
    const { tables, imageNames } = this.#layer;
    if (isDirectoryMode(tables.inodes.mode[inode] as number)) return imageNames.direntOf(inode);
    const pair = this.#pairs(row, inode).find(
      ([, now]) => now.parent === parent && Buffer.compare(now.name, name) === 0,
    );
    return pair === undefined ? -1 : pair[0];
  }

  /** Whether an inode has several names in the image, and they are one file in the mount. */
  isLinked(inode: number): boolean {
    const { mode, nlink } = this.#layer.tables.inodes;
    if ((nlink[inode] as number) <= 1 || isDirectoryMode(mode[inode] as number)) return false;
    return this.#layer.linkNames?.hasSeveral(inode) !== true;
  }

  /** The dirents of an inode of the image that is a row's file. */
  namesOf(row: number, inode: number): readonly number[] {
    const { imageNames, linkNames, table } = this.#layer;
    if (!this.isLinked(inode)) return [linkNames?.direntOf(table.id(row)) ?? imageNames.direntOf(inode)];
    this.#linked ??= this.#findLinked();
    return this.#linked.get(inode) ?? [];
  }

  /** The path in the image of a dirent. */
  pathOf(dirent: number): Uint8Array {
    const { imageNames, tables } = this.#layer;
    return pathFrom([...imageNames.pathOf(directoryOfDirent(tables, dirent)), direntName(tables, dirent)]);
  }

  #pairs(row: number, inode: number): (readonly [gone: number, now: Name])[] {
    const { table } = this.#layer;
    const gone = this.namesOf(row, inode).filter((dirent) => isSeenAt(this.#layer, inode, dirent) !== true);
    if (gone.length === 0) return [];
    const others = table.names(row).filter(({ parent, name }) => !this.#isOfImage(row, inode, parent, name));
    others.sort((a, b) => a.parent - b.parent || compareBytes(a.name, b.name));
    return gone.slice(0, others.length).map((dirent, i) => [dirent, others[i] as Name] as const);
  }

  #isOfImage(row: number, inode: number, parent: number, name: Uint8Array): boolean {
    const { tables } = this.#layer;
    return this.namesOf(row, inode).some(
      (dirent) =>
        u64(tables.inodes.id, directoryOfDirent(tables, dirent)) === parent &&
        Buffer.compare(direntName(tables, dirent), name) === 0,
    );
  }

  /** One pass over all dirents of the image. */
  #findLinked(): ReadonlyMap<number, readonly number[]> {
    const { inode } = this.#layer.tables.dirents;
    const found = new Map<number, number[]>();
    for (let dirent = 0; dirent < inode.length; dirent++) {
      const one = inode[dirent] as number;
      if (!this.isLinked(one)) continue;
      const known = found.get(one);
      if (known === undefined) found.set(one, [dirent]);
      else known.push(dirent);
    }
    return found;
  }
}
