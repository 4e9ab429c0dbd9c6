/** Names of the image that the upper layer hides: that of a whiteout or of another file, and all below it. */
import { directoryOfDirent, direntName, direntRange, isDirectory } from '../../manifest/lookup.ts';
import { NONE, u64 } from '../../manifest/tables.ts';
import type { Layer } from '../layer.ts';
import { pathIn } from '../paths.ts';
import { type ChangeItem, goneAttributes } from './change-item.ts';
import type { Origins } from './origins.ts';
import type { Sight } from './sight.ts';

export interface Hidden {
  /** The dirent at the top. */
  readonly dirent: number;
  /** Whether that itself is gone, and not only what is below. */
  readonly isGone: boolean;
  /** Where it is in the image, and where it would be now. */
  readonly old: Uint8Array;
  readonly path: Uint8Array;
}

/** Steps through hidden names depth first; the position is one dirent. */
export class HiddenNames {
  readonly #layer: Layer;
  readonly #origins: Origins;
  readonly #sight: Sight;

  constructor(layer: Layer, origins: Origins, sight: Sight) {
    this.#layer = layer;
    this.#origins = origins;
    this.#sight = sight;
  }

  /**
   * Lists names that are gone. Names below a directory that was moved were moved with it, and are not listed.
   * @param from the position to begin at, NONE for the beginning
   * @param take false: no more
   * @returns the position of the item that was not taken; NONE at the end
   */
  list(hidden: Hidden, from: number, take: (item: ChangeItem) => boolean): number {
    for (let at = from === NONE ? hidden.dirent : this.#checked(hidden, from); at !== NONE; ) {
      const isTop = at === hidden.dirent;
      const isListed = !isTop || hidden.isGone;
      const isElsewhere = isListed && this.#origins.isMoved(at);
      if (isListed && !take(this.#item(hidden, at, isElsewhere))) return at;
      at = this.#next(hidden.dirent, at, isElsewhere);
    }
    return NONE;
  }

  /** A position comes from a caller: NONE if it is not below the top. */
  #checked(hidden: Hidden, from: number): number {
    const { dirents } = this.#layer.tables;
    if (from < 0 || from >= dirents.inode.length) return NONE;
    for (let at = from; at !== hidden.dirent; at = this.#above(at)) if (at === NONE) return NONE;
    return from;
  }

  /** The dirent of the directory that a dirent is in; NONE for the root. */
  #above(dirent: number): number {
    return this.#layer.imageNames.direntOf(directoryOfDirent(this.#layer.tables, dirent));
  }

  #next(top: number, at: number, isSkipped: boolean): number {
    const { tables } = this.#layer;
    const inode = tables.dirents.inode[at] as number;
    if (!isSkipped && isDirectory(tables, inode) && this.#sight.mayListGone(inode, this.#topInode(top))) {
      const [first, end] = direntRange(tables, inode);
      if (first < end) return first;
    }
    for (let dirent = at; dirent !== top; dirent = this.#above(dirent)) {
      const [, end] = direntRange(tables, directoryOfDirent(tables, dirent));
      if (dirent + 1 < end) return dirent + 1;
    }
    return NONE;
  }

  #topInode(top: number): number {
    return this.#layer.tables.dirents.inode[top] as number;
  }

  #item({ dirent: top, old, path }: Hidden, dirent: number, isElsewhere: boolean): ChangeItem {
    const { tables, identities } = this.#layer;
    const below: Uint8Array[] = [];
    for (let at = dirent; at !== top; at = this.#above(at)) below.push(direntName(tables, at));
    const within = (from: Uint8Array): Uint8Array => below.reduceRight(pathIn, from);
    const inode = tables.dirents.inode[dirent] as number;
    const { id, generation, mode } = tables.inodes;
    return {
      kind: 'removed',
      what: 0,
      path: within(path),
      old: within(old),
      attributes: goneAttributes(u64(id, inode), generation[inode] as number, mode[inode] as number),
      lower: identities.inImage({ id: u64(id, inode), generation: 0 }).id,
      upper: 0,
      isChanging: false,
      hasOtherNames: false,
      isMoved: false,
      isElsewhere,
      hasXattrs: false,
    };
  }
}
