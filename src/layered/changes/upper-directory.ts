/** A directory of the upper layer, in a pass over all of them. */
import { compareBytes } from '../../base/bytes.ts';
import { isErrno } from '../../base/errno.ts';
import { ROOT_INO } from '../../fs/filesystem.ts';
import { readDirectory } from '../../system/directory-listing.ts';
import { DIRECTORY, ORPHAN, UPPER } from '../../upper/identity-table.ts';
import { type Directory, directoryOf } from '../directories.ts';
import type { Layer } from '../layer.ts';
import { additionsOf } from '../layer-rows.ts';
import { namesTo, pathFrom } from '../paths.ts';

export interface UpperDirectory extends Directory {
  /** Its path now. */
  readonly path: Uint8Array;
  /** Its path in the image; undefined if nothing of the image is seen through it. */
  readonly old: Uint8Array | undefined;
  /** It, or a directory above it, was moved since the earlier call. */
  readonly isMoved: boolean;
  /** Names in it may have changed since then. */
  readonly hasOtherNames: boolean;
}

export interface ListedName {
  readonly name: Uint8Array;
  /** Of its inode in the upper layer. */
  readonly upper: number;
}

/**
 * The directory of a row; undefined if the row is none that is visible. @param since 0: everything counts as changed
 */
export function upperDirectory(layer: Layer, row: number, since: number): UpperDirectory | undefined {
  const { table, imageNames } = layer;
  if ((table.flags(row) & (UPPER | DIRECTORY | ORPHAN)) !== (UPPER | DIRECTORY)) return undefined;
  const ino = table.id(row);
  const names = ino === ROOT_INO || table.nameCount(row) > 0 ? namesTo(layer, ino) : undefined;
  if (names === undefined) return undefined;
  let isMoved = since === 0;
  for (let at = row; !isMoved && at >= 0; ) {
    if ((table.flags(at) & ORPHAN) !== 0) return undefined;
    isMoved = table.moved(at) >= since;
    const parent = table.nameOf(at)?.parent;
    at = parent === undefined ? -1 : table.find(parent);
  }
  const directory = directoryOf(layer, ino);
  if (isErrno(directory) || directory.fd < 0) return undefined;
  const old = directory.lower < 0 ? undefined : pathFrom(imageNames.pathOf(directory.lower));
  return {
    ...directory,
    path: pathFrom(names),
    old,
    isMoved,
    hasOtherNames: isMoved || table.changed(row) >= since,
  };
}

/** The names in a directory of the upper layer, sorted; the last listing of this thread is kept. */
export class SortedNames {
  #ino = 0;
  #additions = 0;
  #names: readonly ListedName[] = [];

  /** @param isResumed as for a caller that has the beginning: an entry that was removed may still be there */
  of(layer: Layer, { ino, row, fd }: UpperDirectory, isResumed: boolean): readonly ListedName[] {
    const additions = additionsOf(layer.table, row);
    if (isResumed && this.#ino === ino && this.#additions === additions) return this.#names;
    const names: ListedName[] = [];
    readDirectory(fd, (name, _type, upper) => names.push({ name, upper }));
    names.sort((a, b) => compareBytes(a.name, b.name));
    this.#ino = ino;
    this.#additions = additions;
    this.#names = names;
    return names;
  }

  /** The index of the first one from `name` on, or after it. */
  static from(names: readonly ListedName[], name: Uint8Array, isAfter: boolean): number {
    let low = 0;
    let high = names.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = compareBytes((names[middle] as ListedName).name, name);
      if (order < 0 || (isAfter && order === 0)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
