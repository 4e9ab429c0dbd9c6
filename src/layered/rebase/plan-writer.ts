/** Writes down the changes of an upper layer in a rebase that has been decided (upper/rebase-plan.ts). */
import type { InodeIdentity } from '../../base/handle-format.ts';
import { ROOT_INO } from '../../fs/filesystem.ts';
import { emptyWritableAttributes } from '../../fs/writable-filesystem.ts';
import { type ManifestTables, u64 } from '../../manifest/tables.ts';
import { INDEXED, OPAQUE } from '../../upper/identity-table.ts';
import { encodeNlink, encodeOrigin, Y } from '../../upper/overlay-format.ts';
import { indexName } from '../../upper/overlay-names.ts';
import { type PlannedDirectory, type PlannedEntry, type PlannedXattrs, textOf } from '../../upper/rebase-plan.ts';
import { upperAttributes } from '../attributes.ts';
import type { Layer } from '../layer.ts';
import { encodeIdentity, OPAQUE_OF_FUSE_OVERLAYFS } from '../layer-xattrs.ts';
import { type Found, type FoundFile, identityOfRow, required } from './found.ts';

const EMPTY: Uint8Array = Uint8Array.of();

export class PlanWriter {
  readonly #layer: Layer;
  readonly #next: ManifestTables;
  readonly #counterparts: ReadonlyMap<number, number>;
  readonly #attributes = emptyWritableAttributes();

  /** @param counterparts the new image's inode of a row that stays or goes */
  constructor(layer: Layer, next: ManifestTables, counterparts: ReadonlyMap<number, number>) {
    this.#layer = layer;
    this.#next = next;
    this.#counterparts = counterparts;
  }

  /** A directory, with all that is below. */
  directory(found: Found): PlannedDirectory {
    const { name, below, files, missing, idle, isSame, mtime } = found;
    const dropped = files.filter(({ file }) => file.isDropped).map(({ name: one }) => one);
    return {
      name: textOf(name),
      whiteouts: missing.map(textOf),
      xattrs: [
        this.#xattrsOfDirectory(found),
        ...files.filter(({ file }) => this.#isAlone(file)).map((one) => this.#xattrsOf(one.name, one.file)),
      ],
      remove: [...dropped, ...idle].map(textOf),
      directories: below.map((one) => this.directory(one)),
      isRemoved: isSame,
      mtime: [...mtime],
    };
  }

  #xattrsOfDirectory({ ino, row, next, below, files }: Found): PlannedXattrs {
    const { table, names } = this.#layer;
    const own = names.names;
    const hasCopies = below.some((one) => one.next >= 0) || files.some(({ file }) => this.#isCopy(file));
    const impure = hasCopies ? [[own.impure, Y] as const] : [];
    if (ino === ROOT_INO) return planned(EMPTY, [], impure);
    // a redirect leads to another place of the new image
    if (next < 0) return planned(EMPTY, [own.redirect, own.origin], [this.#idOfOwn(row), ...impure]);
    const isOpaque = (table.flags(row) & OPAQUE) !== 0;
    const opaque = isOpaque ? [own.opaque, ...(names.isOfUsers ? [OPAQUE_OF_FUSE_OVERLAYFS] : [])] : [];
    return planned(EMPTY, [own.redirect, names.id, ...opaque], [this.#originOf(next), ...impure]);
  }

  /** Whether a file stays, and has no entry in the index, which has its xattrs. */
  #isAlone({ row, isDropped }: FoundFile): boolean {
    return !isDropped && (this.#layer.table.flags(row) & INDEXED) === 0;
  }

  /** Whether a file that stays is a copy of one of the new image, which its origin says. */
  #isCopy({ row, next, isDropped }: FoundFile): boolean {
    const { names } = this.#layer;
    const { nlink, mode } = this.#next.inodes;
    const isCounterpart = !isDropped && next >= 0 && this.#counterparts.get(row) === next;
    return isCounterpart && nlink[next] === 1 && names.isPossible(mode[next] as number);
  }

  #xattrsOf(name: Uint8Array, file: FoundFile): PlannedXattrs {
    const { names } = this.#layer;
    const own = names.names;
    if (this.#isCopy(file)) return planned(name, [own.redirect, names.id], [this.#originOf(file.next)]);
    return planned(name, [own.redirect, own.origin], [this.#idOfOwn(file.row)]);
  }

  #originOf(next: number): readonly [Uint8Array, Uint8Array] {
    const { id, generation } = this.#next.inodes;
    return [this.#layer.names.names.origin, encodeOrigin(u64(id, next), generation[next] as number)];
  }

  #idOfOwn(row: number): readonly [Uint8Array, Uint8Array] {
    return [this.#layer.names.id, encodeIdentity(identityOfRow(this.#layer, row))];
  }

  /** The entry of an inode in the index: that of `next` in the new image, or removed (-1). */
  indexEntry(identity: InodeIdentity, next: number): PlannedEntry {
    const layer = this.#layer;
    const name = indexName(layer.originFor(identity.id, identity.generation));
    if (next < 0) return { ...planned(name, [], []), newName: '' };
    const row = layer.table.find(identity.id);
    required(upperAttributes(layer, row, this.#attributes), name);
    const nlink = encodeNlink({ to: 'upper', difference: this.#attributes.nlink - layer.status.nlink });
    const origin = this.#originOf(next);
    const set = [origin, [layer.names.names.nlink, nlink] as const];
    return { ...planned(name, [layer.names.names.redirect], set), newName: textOf(indexName(origin[1])) };
  }
}

function planned(
  name: Uint8Array,
  remove: readonly Uint8Array[],
  set: readonly (readonly [Uint8Array, Uint8Array])[],
): PlannedXattrs {
  const pairs = set.map(([xattr, value]) => [textOf(xattr), textOf(value)] as const);
  return { name: textOf(name), remove: remove.map(textOf), set: pairs };
}
