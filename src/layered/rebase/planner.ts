/**
 * Plans a rebase: compares the files that the upper layer shows with the new image. A file that is the same there is
 * dropped from the upper layer; a file that differs stays, and so does one that may be open.
 *
 * Contents are not read here: the caller knows which ones the new image has.
 */
import { isErrno } from '../../base/errno.ts';
import type { InodeIdentity } from '../../base/handle-format.ts';
import { S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import { emptyWritableAttributes } from '../../fs/writable-filesystem.ts';
import { ASPECT_BITS, CONTENT, LINKS } from '../../manifest/diff/aspects.ts';
import { InodeComparison } from '../../manifest/diff/inodes.ts';
import { rowOfId } from '../../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../manifest/tables.ts';
import type { FileStatus } from '../../system/file-status.ts';
import { DIRECTORY, INDEXED, METACOPY, ORPHAN, UPPER } from '../../upper/identity-table.ts';
import type { PlannedDirectory, PlannedEntry } from '../../upper/rebase-plan.ts';
import { upperAttributes } from '../attributes.ts';
import { differences, userXattrs } from '../changes/differences.ts';
import { ALL, copyUp } from '../copy-up.ts';
import type { Layer } from '../layer.ts';
import { lowerOf, MAPPABLE, newIdentity } from '../layer-rows.ts';
import { type Found, type FoundFile, identityOfRow, required } from './found.ts';
import { NewIdentities } from './new-identities.ts';
import { PlanWriter } from './plan-writer.ts';
import type { DroppedRow, KeptRow, Refusal } from './rows.ts';
import { Survey } from './survey.ts';

/** Says whether a content of the upper layer is that of an inode of the new image. */
export type HasContent = (status: FileStatus, path: Uint8Array) => boolean;

export interface Plan {
  readonly root: PlannedDirectory;
  readonly index: readonly PlannedEntry[];
  readonly kept: readonly KeptRow[];
  readonly dropped: readonly DroppedRow[];
  /** Identities in the mount, by rows of the new image's tables, where they differ from those of the image. */
  readonly identities: ReadonlyMap<number, InodeIdentity>;
  /** How many files stay in the upper layer, beside directories. */
  readonly files: number;
  /** Rows of files of the new image in place of which the upper layer had contents. */
  readonly contents: readonly number[];
}

export class Planner {
  readonly #layer: Layer;
  readonly #next: ManifestTables;
  readonly #hasContent: HasContent;
  readonly #comparison: InodeComparison;
  readonly #identities: NewIdentities;
  readonly #survey: Survey;
  readonly #writer: PlanWriter;
  /** The new image's inode of a row that stays or goes. */
  readonly #counterparts = new Map<number, number>();
  readonly #kept: KeptRow[] = [];
  readonly #keptFiles: { readonly row: number; readonly next: number; readonly isInImage: boolean }[] = [];
  readonly #dropped: DroppedRow[] = [];
  readonly #contents: number[] = [];
  readonly #index: PlannedEntry[] = [];
  readonly #attributes = emptyWritableAttributes();

  /**
   * @param layer with a complete table, under its lock
   * @param next the tables of the new image
   */
  constructor(layer: Layer, next: ManifestTables, hasContent: HasContent) {
    this.#layer = layer;
    this.#next = next;
    this.#hasContent = hasContent;
    this.#comparison = new InodeComparison(layer.tables, next);
    this.#identities = new NewIdentities(next);
    this.#survey = new Survey(layer, next, this.#comparison, this.#identities);
    this.#writer = new PlanWriter(layer, next, this.#counterparts);
  }

  /** Reasons why the new image cannot replace the old one: the mount is as before then. */
  get refusals(): readonly Refusal[] {
    return this.#survey.refusals;
  }

  /**
   * Undefined if there are refusals. Throws a `systemError` if the upper layer cannot be read or completed. Files of
   * the upper layer may have got data that was in the old image alone.
   */
  plan(): Plan | undefined {
    const root = this.#survey.walk();
    this.#nameless();
    if (this.refusals.length > 0) return undefined;
    for (const file of this.#survey.files.values()) this.#decide(file);
    if (this.refusals.length > 0) return undefined;
    this.#decideDirectory(root, true);
    this.#separate();
    for (const { row, next, isInImage } of this.#keptFiles) {
      this.#kept.push({ row, isInImage, lower: next < 0 ? 0 : this.#identities.idOf(next) });
    }
    return {
      root: this.#writer.directory(root),
      index: this.#index,
      kept: this.#kept,
      dropped: this.#dropped,
      identities: this.#identities.byRow,
      files: this.#keptFiles.length,
      contents: this.#contents,
    };
  }

  /** Files without a name have their content in the upper layer from now on. */
  #nameless(): void {
    const layer = this.#layer;
    const { table } = layer;
    for (const row of [...table.rows()]) {
      const flags = table.flags(row);
      if ((flags & ORPHAN) === 0) continue;
      const isWhole = (flags & (UPPER | METACOPY)) === UPPER;
      const ino = table.id(row);
      if (isWhole || !layer.isKnown(ino)) continue;
      required(copyUp(layer, ino, ALL), Buffer.from('an unlinked file'));
    }
  }

  #decide(file: FoundFile): void {
    const layer = this.#layer;
    const { table } = layer;
    const { row, path, names, hasLowerNames } = file;
    const inodes = this.#next.inodes;
    required(upperAttributes(layer, row, this.#attributes), path);
    const { mode } = this.#attributes;
    const hasType = file.next >= 0 && ((mode ^ (inodes.mode[file.next] as number)) & S_IFMT) === 0;
    const next = file.isOneInode && hasType ? file.next : -1;
    const isIndexed = (table.flags(row) & INDEXED) !== 0;
    const identity = identityOfRow(layer, row);
    const isLinked = next >= 0 && (inodes.nlink[next] as number) > 1;
    const isKnown = layer.isKnown(identity.id);
    const isData = (mode & S_IFMT) === S_IFREG && (table.flags(row) & METACOPY) === 0;
    // the kernel writes into the file itself while it is mapped
    const mayBeMapped = isKnown && (table.flags(row) & MAPPABLE) !== 0;
    const isHeld = isData && (table.opens(row) > 0 || mayBeMapped);
    const isSame = next >= 0 && names === inodes.nlink[next] && this.#isSame(row, next, path);
    if (isSame && !isHeld) {
      file.isDropped = true;
      this.#dropped.push({ row, isOutdated: isKnown && isData });
      this.#identities.give(next, identity);
      this.#counterparts.set(row, next);
      if (isData) this.#contents.push(next);
      if (isIndexed) this.#index.push(this.#writer.indexEntry(identity, -1));
      return;
    }
    const hasAllNames = next >= 0 && names === inodes.nlink[next];
    if ((hasLowerNames || isIndexed) && !(isIndexed && hasAllNames)) {
      this.#survey.refuse(path, 'it has several names, of which the new image has others');
      return;
    }
    let data = next;
    if ((table.flags(row) & METACOPY) !== 0 && !this.#hasSameData(row, next)) {
      required(copyUp(layer, identity.id, ALL), path);
      data = -1;
    }
    if (isIndexed) this.#index.push(this.#writer.indexEntry(identity, next));
    // a file with several names would be one of the index
    const isInImage = next >= 0 && (!isLinked || isIndexed);
    if (isInImage) {
      this.#identities.give(next, identity);
      this.#counterparts.set(row, next);
    }
    const hasLower = isIndexed || (table.flags(row) & METACOPY) !== 0;
    this.#keptFiles.push({ row, isInImage, next: !hasLower ? -1 : isIndexed ? next : data });
  }

  #hasSameData(row: number, next: number): boolean {
    const lower = lowerOf(this.#layer.table, row);
    return lower >= 0 && next >= 0 && this.#comparison.contents.same(lower, next);
  }

  /** Whether a file or directory of the upper layer is just so in the new image, whatever its entries. */
  #isSame(row: number, next: number, path: Uint8Array): boolean {
    const layer = this.#layer;
    const { table, names } = layer;
    const attributes = this.#attributes;
    if (upperAttributes(layer, row, attributes) !== 0) return false;
    const status = { ...layer.status };
    const place = layer.tree.checkedPlace(row);
    if (isErrno(place)) return false;
    const isDirectoryRow = (table.flags(row) & DIRECTORY) !== 0;
    const bits = differences(
      { tables: this.#next, table, names },
      next,
      row,
      attributes,
      place,
      userXattrs(layer, place),
    );
    const isRegular = (attributes.mode & S_IFMT) === S_IFREG;
    if ((bits & ~(isDirectoryRow ? LINKS | CONTENT : isRegular ? CONTENT : 0)) !== 0) return false;
    if (!isRegular) return true;
    if ((table.flags(row) & METACOPY) !== 0) return this.#hasSameData(row, next);
    const size = u64(this.#next.inodes.size, next);
    return size === attributes.size && (size === 0 || this.#hasContent(status, path));
  }

  /** @returns whether it is dropped */
  #decideDirectory(found: Found, isRoot = false): boolean {
    const { row, path, next, below, files, hiding, missing } = found;
    let isEmpty = hiding.length === 0 && missing.length === 0;
    for (const one of below) if (!this.#decideDirectory(one)) isEmpty = false;
    if (files.some(({ file }) => !file.isDropped)) isEmpty = false;
    const identity = identityOfRow(this.#layer, row);
    // the kernel drops its attributes
    this.#layer.isKnown(identity.id);
    if (next >= 0) {
      if (!isRoot) this.#identities.give(next, identity);
      this.#counterparts.set(row, next);
    }
    found.isSame = !isRoot && next >= 0 && isEmpty && this.#isSame(row, next, path);
    if (found.isSame) this.#dropped.push({ row, isOutdated: false });
    else this.#kept.push({ row, isInImage: next >= 0, lower: next < 0 ? 0 : identity.id });
    return found.isSame;
  }

  /** No inode of the new image has the id of another inode of the mount: one that is hidden gets a new one. */
  #separate(): void {
    const { table } = this.#layer;
    const rows = new Map<number, number>();
    for (const row of table.rows()) rows.set(table.id(row), this.#counterparts.get(row) ?? -1);
    for (const [next, identity] of this.#identities.byRow) rows.set(identity.id, next);
    const ids = { table, rowInImage: (one: number): number => (rows.has(one) ? 0 : rowOfId(this.#next, one)) };
    for (const [one, next] of rows) {
      const other = rowOfId(this.#next, one);
      if (other < 0 || other === next || this.#identities.byRow.has(other)) continue;
      // an inode of the old image that the kernel had open
      if (next < 0 && this.#isUnchanged(one, other)) continue;
      this.#identities.byRow.set(other, newIdentity(ids));
    }
  }

  /** Whether the inode with this id in the mount is one of the old image that was compared with `other`. */
  #isUnchanged(one: number, other: number): boolean {
    const { table, tables } = this.#layer;
    const row = table.find(one);
    if (row >= 0 && (table.flags(row) & (UPPER | ORPHAN)) !== 0) return false;
    const before = rowOfId(tables, one);
    return before >= 0 && (this.#comparison.compare(before, other) & ASPECT_BITS) === 0;
  }
}
