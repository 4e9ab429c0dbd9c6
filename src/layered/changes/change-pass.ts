/**
 * A pass over the changes of the upper layer, in pieces: what one call returns. Between two calls everything may
 * change; the position of a pass is a row of the table of identities and a name, and so it needs no memory here.
 * Directories are visited by their rows, then files of the image with several names, of which some are not in the upper
 * layer.
 *
 * Each name is described as it was at one time. One that is moved from a directory that was not visited to one that was
 * may be missing: a pass since this one's beginning has it.
 */
import { isErrno } from '../../base/errno.ts';
import type { Caller } from '../../fs/caller.ts';
import { ROOT_INO } from '../../fs/filesystem.ts';
import { emptyWritableAttributes } from '../../fs/writable-filesystem.ts';
import { directoryOfDirent, direntName, lookupDirent } from '../../manifest/lookup.ts';
import { NONE, u64 } from '../../manifest/tables.ts';
import { emptyFileStatus, statusAt } from '../../system/file-status.ts';
import { DIRECTORY, METACOPY, NEW, ORPHAN, UPPER } from '../../upper/identity-table.ts';
import { fillFrom, upperAttributes } from '../attributes.ts';
import { mayChange } from '../change-marks.ts';
import { directoryOf } from '../directories.ts';
import { adopt, isWhiteoutEntry } from '../entries.ts';
import { isSeenAt } from '../handles.ts';
import type { Layer } from '../layer.ts';
import { lowerOf } from '../layer-rows.ts';
import { namesTo, pathFrom, pathIn } from '../paths.ts';
import type { Place } from '../upper-tree.ts';
import { type ChangeItem, type ChangeKind, copyOf } from './change-item.ts';
import { differences, userXattrs } from './differences.ts';
import { type Hidden, HiddenNames } from './hidden-names.ts';
import { Origins } from './origins.ts';
import { Sight } from './sight.ts';
import { type ListedName, SortedNames, type UpperDirectory, upperDirectory } from './upper-directory.ts';

/** A position in a pass. */
export interface ChangeCursor {
  readonly part: 'directories' | 'links';
  /** Of the table. */
  readonly row: number;
  /** In the directory; empty before the first one. */
  readonly name: Uint8Array;
  /** What is next: the file of the name, the names of the image that it hides, or the next name. */
  readonly stage: 'file' | 'hidden' | 'done';
  /** The next dirent of the image; NONE for the first one. */
  readonly dirent: number;
}

const EMPTY: Uint8Array = Uint8Array.of();
export const FIRST: ChangeCursor = { part: 'directories', row: 0, name: EMPTY, stage: 'done', dirent: NONE };

/** Entries that are examined before the lock is free again. */
const MOST_EXAMINED = 1024;
const OF_A_DIRECTORY = 16;
const OF_A_ROW = 1 / 64;

/** Between two calls: what only saves time. */
export class ChangeMemory {
  readonly origins: Origins;
  readonly names: SortedNames = new SortedNames();

  constructor(layer: Layer) {
    this.origins = new Origins(layer);
  }
}

export class ChangePass {
  readonly #layer: Layer;
  readonly #memory: ChangeMemory;
  readonly #since: number;
  readonly #sight: Sight;
  readonly #hidden: HiddenNames;
  readonly #take: (item: ChangeItem) => boolean;
  readonly #attributes = emptyWritableAttributes();
  readonly #status = emptyFileStatus();
  #examined = 0;
  /** Whether something was left out: its directory may not be listed, or a file has invalid xattrs. */
  isHiddenFromCaller = false;
  isIncomplete = false;

  /**
   * Under the lock.
   * @param since a number of changes: only what was marked from then on; 0 for everything
   * @param take called with each change; false if there is no room for it
   */
  constructor(layer: Layer, memory: ChangeMemory, since: number, caller: Caller, take: (item: ChangeItem) => boolean) {
    this.#layer = layer;
    this.#memory = memory;
    this.#since = since;
    this.#sight = new Sight(layer, caller);
    this.#hidden = new HiddenNames(layer, memory.origins, this.#sight);
    this.#take = take;
  }

  /** @returns the position for the next call; undefined at the end */
  run(from: ChangeCursor): ChangeCursor | undefined {
    const { table } = this.#layer;
    const isOfLinks = from.part === 'links';
    for (let row = isOfLinks ? -1 : table.nextRow(from.row); row >= 0; row = table.nextRow(row + 1)) {
      if (this.#examined >= MOST_EXAMINED) return { ...FIRST, row };
      this.#examined += OF_A_ROW;
      const stopped = this.#directory(row, row === from.row ? from : { ...FIRST, row });
      if (stopped !== undefined) return stopped;
    }
    const first = isOfLinks ? from : { ...FIRST, part: 'links' as const };
    for (let row = table.nextRow(first.row); row >= 0; row = table.nextRow(row + 1)) {
      if (this.#examined >= MOST_EXAMINED) return { ...first, row, dirent: NONE };
      this.#examined += OF_A_ROW;
      const dirent = this.#links(row, row === first.row ? first.dirent : NONE);
      if (dirent !== NONE) return { ...first, row, dirent };
    }
    return undefined;
  }

  #directory(row: number, from: ChangeCursor): ChangeCursor | undefined {
    const directory = upperDirectory(this.#layer, row, this.#since);
    if (directory === undefined) return undefined;
    this.#examined += OF_A_DIRECTORY;
    const isBegun = from.name.length > 0;
    if (directory.ino === ROOT_INO && !isBegun && !this.#root(directory)) return from;
    if (!this.#sight.mayList(directory.ino)) {
      this.isHiddenFromCaller = true;
      return undefined;
    }
    const names = this.#memory.names.of(this.#layer, directory, isBegun);
    const first = SortedNames.from(names, from.name, from.stage === 'done');
    for (let i = first; i < names.length; i++) {
      const listed = names[i] as ListedName;
      // each call gets further
      if (this.#examined >= MOST_EXAMINED && i > first) return { ...from, name: previous(names, i), stage: 'done' };
      const isSame = Buffer.compare(listed.name, from.name) === 0;
      const { stage, dirent } = isSame ? from : ({ stage: 'file', dirent: NONE } as const);
      const stopped = this.#name(directory, listed, stage, dirent);
      if (stopped !== undefined) return { part: 'directories', row, name: listed.name, ...stopped };
    }
    return undefined;
  }

  #root(directory: UpperDirectory): boolean {
    const place = { dir: directory.fd, name: EMPTY };
    if (statusAt(directory.fd, EMPTY, this.#status) !== 0) return true;
    if (isErrno(fillFrom(this.#layer, directory.row, this.#status, this.#attributes))) return true;
    const item = this.#describe(directory.row, 'changed', 0, place, directory.path, directory.path);
    return !this.#isWanted(directory.row, item, false) || this.#take(item);
  }

  #name(
    directory: UpperDirectory,
    { name, upper }: ListedName,
    stage: ChangeCursor['stage'],
    dirent: number,
  ): Pick<ChangeCursor, 'stage' | 'dirent'> | undefined {
    this.#examined++;
    if (this.#isUnchanged(directory, upper)) return undefined;
    const layer = this.#layer;
    if (statusAt(directory.fd, name, this.#status) !== 0) return undefined;
    const hidden = directory.lower < 0 ? -1 : lookupDirent(layer.tables, directory.lower, name);
    const path = pathIn(directory.path, name);
    const old = hidden < 0 ? undefined : pathIn(directory.old as Uint8Array, name);
    const goOn = (isGone: boolean): Pick<ChangeCursor, 'stage' | 'dirent'> | undefined => {
      if (old === undefined || !directory.hasOtherNames) return undefined;
      const at = this.#listHidden({ dirent: hidden, isGone, old, path }, dirent);
      return at === NONE ? undefined : { stage: 'hidden', dirent: at };
    };
    if (isWhiteoutEntry(layer, directory, name, this.#status)) return goOn(true);
    const row = adopt(layer, directory, name, this.#status);
    if (isErrno(row) || isErrno(fillFrom(layer, row, this.#status, this.#attributes))) {
      this.isIncomplete = true;
      return undefined;
    }
    const inode = hidden < 0 ? -1 : (layer.tables.dirents.inode[hidden] as number);
    const item = this.#classify(directory, name, row, hidden, { path, old });
    if (stage === 'file' && this.#isWanted(row, item, directory.isMoved) && !this.#take(item)) {
      return { stage, dirent: NONE };
    }
    const isSeen = inode >= 0 && (lowerOf(layer.table, row) === inode || this.#isAt(row, hidden));
    return isSeen || inode < 0 ? undefined : goOn(item.kind !== 'changed');
  }

  /** A quick look, without the file: the inode number is in the listing. */
  #isUnchanged(directory: UpperDirectory, upper: number): boolean {
    if (this.#since === 0 || directory.hasOtherNames) return false;
    const { table } = this.#layer;
    const row = table.findUpper(upper >>> 0, Math.floor(upper / 0x1_0000_0000));
    if (row < 0 || (table.flags(row) & UPPER) === 0) return false;
    return table.changed(row) < this.#since && !mayChange(this.#layer, row);
  }

  /** Whether a row's file is what the image has at a dirent. */
  #isAt(row: number, dirent: number): boolean {
    return this.#memory.origins.idAt(dirent) === this.#layer.table.id(row);
  }

  #idOf(inode: number): number {
    return u64(this.#layer.tables.inodes.id, inode);
  }

  /** The kind of a file of the upper layer. @param hidden the dirent of the image at its place; -1 for none */
  #classify(
    directory: UpperDirectory,
    name: Uint8Array,
    row: number,
    hidden: number,
    { path, old }: { readonly path: Uint8Array; readonly old: Uint8Array | undefined },
  ): ChangeItem {
    const { table, tables } = this.#layer;
    const { origins } = this.#memory;
    const place = { dir: directory.fd, name };
    const inode = hidden < 0 ? -1 : (tables.dirents.inode[hidden] as number);
    const origin = this.#layer.rowInImage(table.id(row));
    if (origin < 0) {
      const isReplaced = inode >= 0 && !origins.isMoved(hidden);
      return this.#describe(row, isReplaced ? 'changed' : 'added', isReplaced ? inode : -1, place, path, old);
    }
    if (inode >= 0 && this.#isAt(row, hidden)) return this.#describe(row, 'changed', origin, place, path, old);
    const before = origins.oldName(row, origin, directory.ino, name);
    // one more name of it
    if (before < 0 && inode >= 0 && !origins.isMoved(hidden)) {
      return this.#describe(row, 'changed', inode, place, path, old);
    }
    if (before < 0) return this.#describe(row, 'added', -1, place, path, undefined);
    return this.#describe(row, 'renamed', origin, place, path, origins.pathOf(before));
  }

  /** @param inode of the image to compare with, -1 for none; the attributes are in `#attributes` */
  #describe(
    row: number,
    kind: ChangeKind,
    inode: number,
    place: Place,
    path: Uint8Array,
    old: Uint8Array | undefined,
  ): ChangeItem {
    const layer = this.#layer;
    const { table } = layer;
    const attributes = copyOf(this.#attributes);
    const names = userXattrs(layer, place);
    // a file with data of its own may have one, too
    const hasLower = (table.flags(row) & (DIRECTORY | METACOPY)) !== 0;
    const lower = hasLower ? lowerOf(table, row) : -1;
    const isRecent = this.#since > 0;
    return {
      kind,
      what: inode < 0 ? 0 : differences(layer, inode, row, attributes, place, names),
      path,
      old: kind === 'added' ? undefined : old,
      attributes,
      lower: lower < 0 ? 0 : layer.identities.inImage({ id: this.#idOf(lower), generation: 0 }).id,
      upper: table.upperLow(row) + table.upperHigh(row) * 0x1_0000_0000,
      isChanging: mayChange(layer, row),
      hasOtherNames: isRecent && (table.flags(row) & DIRECTORY) !== 0 && table.changed(row) >= this.#since,
      isMoved: isRecent && (table.flags(row) & DIRECTORY) !== 0 && table.moved(row) >= this.#since,
      isElsewhere: false,
      hasXattrs: names.length > 0,
    };
  }

  #isWanted(row: number, { kind, what, lower, isChanging }: ChangeItem, isMoved: boolean): boolean {
    const { table } = this.#layer;
    if (this.#since > 0) return isMoved || isChanging || table.changed(row) >= this.#since;
    // a directory through which its own one of the image is not seen differs in its entries
    return kind !== 'changed' || what !== 0 || ((table.flags(row) & DIRECTORY) !== 0 && lower === 0);
  }

  #listHidden(hidden: Hidden, from: number): number {
    return this.#hidden.list(hidden, from, (item) => {
      this.#examined++;
      return this.#take(item);
    });
  }

  /**
   * Names of a file of the image that are not in the upper layer, but show its file there.
   * @param from the dirent to begin at
   * @returns the dirent that there was no room for; NONE at the end
   */
  #links(row: number, from: number): number {
    const layer = this.#layer;
    const { table } = layer;
    if ((table.flags(row) & (UPPER | DIRECTORY | NEW | ORPHAN)) !== UPPER) return NONE;
    const inode = layer.rowInImage(table.id(row));
    const { origins } = this.#memory;
    if (inode < 0 || !origins.isLinked(inode)) return NONE;
    if (this.#since > 0 && table.changed(row) < this.#since && !mayChange(layer, row)) return NONE;
    for (const dirent of origins.namesOf(row, inode)) {
      if (from !== NONE && dirent < from) continue;
      this.#examined++;
      const item = this.#linkAt(row, inode, dirent);
      if (item !== undefined && this.#isWanted(row, item, false) && !this.#take(item)) return dirent;
    }
    return NONE;
  }

  #linkAt(row: number, inode: number, dirent: number): ChangeItem | undefined {
    const layer = this.#layer;
    const { tables } = layer;
    if (isSeenAt(layer, inode, dirent) !== true) return undefined;
    const parent = this.#idOf(directoryOfDirent(tables, dirent));
    const name = direntName(tables, dirent);
    const directory = directoryOf(layer, parent);
    const names = namesTo(layer, parent);
    if (isErrno(directory) || names === undefined || !this.#sight.mayList(parent)) return undefined;
    // it was described with the directory
    if (directory.fd >= 0 && statusAt(directory.fd, name, this.#status) === 0) return undefined;
    if (isErrno(upperAttributes(layer, row, this.#attributes))) return undefined;
    const place = layer.tree.checkedPlace(row);
    if (isErrno(place)) return undefined;
    const path = pathIn(pathFrom(names), name);
    return this.#describe(row, 'changed', inode, place, path, this.#memory.origins.pathOf(dirent));
  }
}

const previous = (names: readonly ListedName[], i: number): Uint8Array => names[i - 1]?.name ?? EMPTY;
