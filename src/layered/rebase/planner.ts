/**
 * Plans a rebase: compares what is seen through the upper layer with the new image. A file that the new image has just
 * so is dropped from the upper layer; what differs stays there, and so does a file that may be open. What of the old
 * image is seen without a change must be in the new one.
 *
 * Contents are not read here: the caller knows which ones the new image has.
 */
import { latin1 } from '../../base/bytes.ts';
import { type Errno, isErrno } from '../../base/errno.ts';
import type { InodeIdentity } from '../../base/handle-format.ts';
import { S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import { ROOT_INO } from '../../fs/filesystem.ts';
import { emptyWritableAttributes } from '../../fs/writable-filesystem.ts';
import { ASPECT_BITS, CONTENT, LINKS } from '../../manifest/diff/aspects.ts';
import { InodeComparison } from '../../manifest/diff/inodes.ts';
import { direntName, direntRange, isDirectory, lookupName, rowOfId } from '../../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../manifest/tables.ts';
import { readDirectory } from '../../system/directory-listing.ts';
import { emptyFileStatus, type FileStatus, statusAt } from '../../system/file-status.ts';
import { systemError } from '../../system/libc.ts';
import { DIRECTORY, INDEXED, METACOPY, OPAQUE, ORPHAN, UPPER } from '../../upper/identity-table.ts';
import { encodeNlink, encodeOrigin, Y } from '../../upper/overlay-format.ts';
import { indexName } from '../../upper/overlay-names.ts';
import { type PlannedDirectory, type PlannedEntry, type PlannedXattrs, textOf } from '../../upper/rebase-plan.ts';
import { upperAttributes } from '../attributes.ts';
import { differences, userXattrs } from '../changes/differences.ts';
import { ALL, copyUp } from '../copy-up.ts';
import { type Directory, directoryOf } from '../directories.ts';
import { adopt, isWhiteoutEntry } from '../entries.ts';
import type { Layer } from '../layer.ts';
import { lowerOf, MAPPABLE, newIdentity } from '../layer-rows.ts';
import { encodeIdentity, OPAQUE_OF_FUSE_OVERLAYFS } from '../layer-xattrs.ts';
import { pathIn } from '../paths.ts';
import type { DroppedRow, KeptRow, Refusal } from './rows.ts';

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

/** A directory of the upper layer. */
interface Found extends Directory {
  readonly name: Uint8Array;
  readonly path: Uint8Array;
  /** The directory of the new image at its place; -1 for none. */
  readonly next: number;
  readonly below: Found[];
  readonly files: { readonly name: Uint8Array; readonly file: FoundFile }[];
  /** Whiteouts that hide names of the new image, those that it needs, and those that hide none. */
  readonly hiding: Uint8Array[];
  readonly missing: Uint8Array[];
  readonly idle: Uint8Array[];
  readonly mtime: readonly [number, number, number];
  isSame: boolean;
}

/** A file of the upper layer that is not a directory. */
interface FoundFile {
  readonly row: number;
  readonly path: Uint8Array;
  /** What the new image has at its first name; -1 for none. */
  readonly next: number;
  /** Whether it has the same at all of them. */
  isOneInode: boolean;
  names: number;
  /** Names that are not in the upper layer. */
  hasLowerNames: boolean;
  isDropped: boolean;
}

const EMPTY: Uint8Array = Uint8Array.of();
const ROOT_PATH: Uint8Array = Uint8Array.of(0x2f);
/** More would not be shown. */
const MOST_REFUSALS = 12;

export class Planner {
  readonly #layer: Layer;
  readonly #next: ManifestTables;
  readonly #hasContent: HasContent;
  readonly #comparison: InodeComparison;
  readonly #files = new Map<number, FoundFile>();
  readonly #identities = new Map<number, InodeIdentity>();
  /** The new image's inode of a row that stays or goes. */
  readonly #counterparts = new Map<number, number>();
  readonly #kept: KeptRow[] = [];
  readonly #keptFiles: { readonly row: number; readonly next: number; readonly isInImage: boolean }[] = [];
  readonly #dropped: DroppedRow[] = [];
  readonly #contents: number[] = [];
  readonly #index: PlannedEntry[] = [];
  readonly #attributes = emptyWritableAttributes();
  readonly #status = emptyFileStatus();
  /** Set if the new image cannot replace the old one: the mount is as before then. */
  readonly refusals: Refusal[] = [];

  /**
   * @param layer with a complete table, under its lock
   * @param next the tables of the new image
   */
  constructor(layer: Layer, next: ManifestTables, hasContent: HasContent) {
    this.#layer = layer;
    this.#next = next;
    this.#hasContent = hasContent;
    this.#comparison = new InodeComparison(layer.tables, next);
  }

  /**
   * Undefined if there are refusals. Throws a `systemError` if the upper layer cannot be read or completed. Files of
   * the upper layer may have got data that was in the old image alone.
   */
  plan(): Plan | undefined {
    const { table, directories } = this.#layer;
    required(statusAt(directories.upper, EMPTY, this.#status), ROOT_PATH);
    const root = this.#directory(table.find(ROOT_INO), EMPTY, ROOT_PATH, 0);
    this.#visit(root);
    this.#nameless();
    if (this.refusals.length > 0) return undefined;
    for (const file of this.#files.values()) this.#decide(file);
    if (this.refusals.length > 0) return undefined;
    this.#decideDirectory(root, true);
    this.#separate();
    for (const { row, next, isInImage } of this.#keptFiles) {
      this.#kept.push({ row, isInImage, lower: next < 0 ? 0 : this.#idOf(next) });
    }
    return {
      root: this.#planned(root),
      index: this.#index,
      kept: this.#kept,
      dropped: this.#dropped,
      identities: this.#identities,
      files: this.#keptFiles.length,
      contents: this.#contents,
    };
  }

  #refuse(path: Uint8Array, why: string): void {
    if (this.refusals.length < MOST_REFUSALS) this.refusals.push({ path, why });
  }

  /** Its status was just read. */
  #directory(row: number, name: Uint8Array, path: Uint8Array, next: number): Found {
    const { table } = this.#layer;
    const { mtimeLow, mtimeHigh, mtimeNsec } = this.#status;
    return {
      ino: table.id(row),
      row,
      // opened when it is visited
      fd: -1,
      lower: lowerOf(table, row),
      name,
      path,
      next,
      below: [],
      files: [],
      hiding: [],
      missing: [],
      idle: [],
      mtime: [mtimeLow, mtimeHigh, mtimeNsec],
      isSame: false,
    };
  }

  /** All directories of the upper layer. Descriptors of others may be closed: those of one are used at once. */
  #visit(root: Found): void {
    const left = [root];
    const open = this.#layer.tree.openDirectories();
    for (let found = left.pop(); found !== undefined; found = left.pop()) {
      this.#layer.tree.closeOthers(open);
      const directory = required(directoryOf(this.#layer, found.ino), found.path);
      this.#entries({ ...found, fd: directory.fd });
      left.push(...found.below);
      if (this.refusals.length >= MOST_REFUSALS) return;
    }
  }

  #entries(found: Found): void {
    const layer = this.#layer;
    const { fd, lower, next } = found;
    const listed: Uint8Array[] = [];
    required(
      readDirectory(fd, (name) => listed.push(name)),
      found.path,
    );
    const upper = new Set<string>();
    const whiteouts = new Set<string>();
    for (const name of listed) {
      const key = latin1(name);
      upper.add(key);
      const path = pathIn(found.path, name);
      required(statusAt(fd, name, this.#status), path);
      const now = next < 0 ? -1 : lookupName(this.#next, next, name);
      if (isWhiteoutEntry(layer, found, name, this.#status)) {
        whiteouts.add(key);
        (now < 0 ? found.idle : found.hiding).push(name);
        continue;
      }
      const row = required(adopt(layer, found, name, this.#status), path);
      if ((layer.table.flags(row) & DIRECTORY) === 0) this.#file(found, name, row, path, now, true);
      else {
        const below = now >= 0 && isDirectory(this.#next, now) ? now : -1;
        found.below.push(this.#directory(row, name, path, below));
      }
    }
    const seen = new Set(upper);
    if (lower >= 0) this.#unchanged(found, upper, seen);
    if (next < 0) return;
    for (const name of namesOf(this.#next, next)) {
      const key = latin1(name);
      if (!seen.has(key) && !whiteouts.has(key)) found.missing.push(name);
    }
  }

  /** Names of the old image that are not in the upper layer. @param seen gets them */
  #unchanged({ path: directory, lower, next }: Found, upper: ReadonlySet<string>, seen: Set<string>): void {
    const layer = this.#layer;
    const [from, to] = direntRange(layer.tables, lower);
    for (let dirent = from; dirent < to; dirent++) {
      const name = direntName(layer.tables, dirent);
      if (upper.has(latin1(name))) continue;
      seen.add(latin1(name));
      const inode = layer.tables.dirents.inode[dirent] as number;
      const now = next < 0 ? -1 : lookupName(this.#next, next, name);
      this.#compare(inode, now, pathIn(directory, name));
    }
  }

  /** What is seen of the old image at a name, and all below, must be in the new one. */
  #compare(inode: number, now: number, path: Uint8Array): void {
    const { tables, table } = this.#layer;
    const left: [inode: number, now: number, path: () => Uint8Array][] = [[inode, now, () => path]];
    for (let one = left.pop(); one !== undefined; one = left.pop()) {
      const [before, after, place] = one;
      if (this.refusals.length >= MOST_REFUSALS) return;
      const row = (tables.inodes.nlink[before] as number) > 1 ? table.find(u64(tables.inodes.id, before)) : -1;
      if (row >= 0 && (table.flags(row) & (UPPER | DIRECTORY)) === UPPER) {
        this.#file(undefined, EMPTY, row, place(), after, false);
        continue;
      }
      if (after < 0) {
        this.#refuse(place(), 'it is not in the new image');
        continue;
      }
      if ((this.#comparison.compare(before, after) & ASPECT_BITS) !== 0) {
        this.#refuse(place(), 'it is another one in the new image');
        continue;
      }
      this.#identify(after, before);
      if (isDirectory(tables, before)) this.#compareEntries(before, after, place, left);
      else if (tables.inodes.nlink[before] !== this.#next.inodes.nlink[after]) {
        this.#refuse(place(), 'it has other names in the new image');
      }
    }
  }

  #compareEntries(
    before: number,
    after: number,
    place: () => Uint8Array,
    left: [number, number, () => Uint8Array][],
  ): void {
    const { tables } = this.#layer;
    const [from, to] = direntRange(tables, before);
    const [first, end] = direntRange(this.#next, after);
    let other = first;
    for (let dirent = from; dirent < to; dirent++) {
      const name = direntName(tables, dirent);
      const path = (): Uint8Array => pathIn(place(), name);
      // both are sorted
      const isThere = other < end && Buffer.compare(direntName(this.#next, other), name) === 0;
      const now = isThere ? (this.#next.dirents.inode[other] as number) : lookupName(this.#next, after, name);
      if (isThere) other++;
      left.push([tables.dirents.inode[dirent] as number, now, path]);
    }
    if (to - from === end - first) return;
    for (const name of namesOf(this.#next, after)) {
      if (lookupName(tables, before, name) < 0) this.#refuse(pathIn(place(), name), 'the mount does not have it');
    }
  }

  /** An inode of the new image is one of the old image. */
  #identify(now: number, before: number): void {
    const { id, generation } = this.#layer.tables.inodes;
    this.#give(now, { id: u64(id, before), generation: generation[before] as number });
  }

  #give(now: number, identity: InodeIdentity): void {
    const { id, generation } = this.#next.inodes;
    if (u64(id, now) === identity.id && generation[now] === identity.generation) return;
    this.#identities.set(now, identity);
  }

  #idOf(now: number): number {
    return this.#identities.get(now)?.id ?? u64(this.#next.inodes.id, now);
  }

  #identityOf(row: number): InodeIdentity {
    const { table } = this.#layer;
    return { id: table.id(row), generation: table.generation(row) };
  }

  #file(
    found: Found | undefined,
    name: Uint8Array,
    row: number,
    path: Uint8Array,
    now: number,
    isUpper: boolean,
  ): void {
    const next = now >= 0 && isDirectory(this.#next, now) ? -1 : now;
    let file = this.#files.get(row);
    if (file === undefined) {
      file = { row, path, next, isOneInode: true, names: 0, hasLowerNames: false, isDropped: false };
      this.#files.set(row, file);
    }
    file.names++;
    if (file.next !== next) file.isOneInode = false;
    if (!isUpper) file.hasLowerNames = true;
    found?.files.push({ name, file });
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
    const next = file.isOneInode && this.#hasType(row, file.next) ? file.next : -1;
    const isIndexed = (table.flags(row) & INDEXED) !== 0;
    const identity = this.#identityOf(row);
    const isLinked = next >= 0 && (inodes.nlink[next] as number) > 1;
    const isKnown = layer.isKnown(identity.id);
    const isData = this.#hasData(row);
    // the kernel writes into the file itself while it is mapped
    const mayBeMapped = isKnown && (table.flags(row) & MAPPABLE) !== 0;
    const isHeld = isData && (table.opens(row) > 0 || mayBeMapped);
    const isSame = next >= 0 && names === inodes.nlink[next] && this.#isSame(row, next, path);
    if (isSame && !isHeld) {
      file.isDropped = true;
      this.#dropped.push({ row, isOutdated: isKnown && isData });
      this.#give(next, identity);
      this.#counterparts.set(row, next);
      if (isData) this.#contents.push(next);
      if (isIndexed) this.#index.push(this.#indexEntry(identity, -1));
      return;
    }
    const hasAllNames = next >= 0 && names === inodes.nlink[next];
    if ((hasLowerNames || isIndexed) && !(isIndexed && hasAllNames)) {
      this.#refuse(path, 'it has several names, of which the new image has others');
      return;
    }
    let data = next;
    if ((table.flags(row) & METACOPY) !== 0 && !this.#hasSameData(row, next)) {
      required(copyUp(layer, identity.id, ALL), path);
      data = -1;
    }
    if (isIndexed) this.#index.push(this.#indexEntry(identity, next));
    // a file with several names would be one of the index
    const isInImage = next >= 0 && (!isLinked || isIndexed);
    if (isInImage) {
      this.#give(next, identity);
      this.#counterparts.set(row, next);
    }
    const hasLower = isIndexed || (table.flags(row) & METACOPY) !== 0;
    this.#keptFiles.push({ row, isInImage, next: !hasLower ? -1 : isIndexed ? next : data });
  }

  /** The entry of an inode in the index: that of `next` in the new image, or removed (-1). */
  #indexEntry(identity: InodeIdentity, next: number): PlannedEntry {
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

  #hasType(row: number, next: number): boolean {
    if (next < 0 || upperAttributes(this.#layer, row, this.#attributes) !== 0) return false;
    return ((this.#attributes.mode ^ (this.#next.inodes.mode[next] as number)) & S_IFMT) === 0;
  }

  /** Whether the file is a regular one with data of its own. */
  #hasData(row: number): boolean {
    const { table } = this.#layer;
    required(upperAttributes(this.#layer, row, this.#attributes), EMPTY);
    return (this.#attributes.mode & S_IFMT) === S_IFREG && (table.flags(row) & METACOPY) === 0;
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
    const identity = this.#identityOf(row);
    // the kernel drops its attributes
    this.#layer.isKnown(identity.id);
    if (next >= 0) {
      if (!isRoot) this.#give(next, identity);
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
    for (const [next, identity] of this.#identities) rows.set(identity.id, next);
    const ids = { table, rowInImage: (one: number): number => (rows.has(one) ? 0 : rowOfId(this.#next, one)) };
    for (const [one, next] of rows) {
      const other = rowOfId(this.#next, one);
      if (other < 0 || other === next || this.#identities.has(other)) continue;
      // an inode of the old image that the kernel had open
      if (next < 0 && this.#isUnchanged(one, other)) continue;
      this.#identities.set(other, newIdentity(ids));
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

  #planned(found: Found): PlannedDirectory {
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
      directories: below.map((one) => this.#planned(one)),
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
    return [this.#layer.names.id, encodeIdentity(this.#identityOf(row))];
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

function* namesOf(tables: ManifestTables, directory: number): Generator<Uint8Array> {
  const [from, to] = direntRange(tables, directory);
  for (let dirent = from; dirent < to; dirent++) yield direntName(tables, dirent);
}

function required<T>(result: T | Errno, path: Uint8Array): T {
  if (isErrno(result as number)) throw systemError(result as Errno, 'rebase', Buffer.from(path).toString());
  return result as T;
}
