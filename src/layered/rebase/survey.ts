/**
 * Walks an upper layer beside the new image. A file of the old image that is visible at a name, and all below it, must
 * be in the new one.
 */
import { latin1 } from '../../base/bytes.ts';
import { ROOT_INO } from '../../fs/filesystem.ts';
import { ASPECT_BITS } from '../../manifest/diff/aspects.ts';
import type { InodeComparison } from '../../manifest/diff/inodes.ts';
import { direntName, direntRange, isDirectory, lookupName } from '../../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../manifest/tables.ts';
import { readDirectory } from '../../system/directory-listing.ts';
import { emptyFileStatus, statusAt } from '../../system/file-status.ts';
import { DIRECTORY, UPPER } from '../../upper/identity-table.ts';
import { directoryOf } from '../directories.ts';
import { adopt, isWhiteoutEntry } from '../entries.ts';
import type { Layer } from '../layer.ts';
import { lowerOf } from '../layer-rows.ts';
import { pathIn } from '../paths.ts';
import { type Found, type FoundFile, required } from './found.ts';
import type { NewIdentities } from './new-identities.ts';
import type { Refusal } from './rows.ts';

const EMPTY: Uint8Array = Uint8Array.of();
const ROOT_PATH: Uint8Array = Uint8Array.of(0x2f);
/** More would not be shown. */
const MOST_REFUSALS = 12;

export class Survey {
  readonly #layer: Layer;
  readonly #next: ManifestTables;
  readonly #comparison: InodeComparison;
  readonly #identities: NewIdentities;
  readonly #status = emptyFileStatus();
  /** Files of the upper layer that are not directories, by their rows. */
  readonly files: Map<number, FoundFile> = new Map();
  readonly refusals: Refusal[] = [];

  /**
   * @param layer with a complete table, under its lock
   * @param next the tables of the new image
   * @param comparison of the two images
   * @param identities gets those of inodes that both images have
   */
  constructor(layer: Layer, next: ManifestTables, comparison: InodeComparison, identities: NewIdentities) {
    this.#layer = layer;
    this.#next = next;
    this.#comparison = comparison;
    this.#identities = identities;
  }

  /** The root of the upper layer, with all that is below. Throws a `systemError` if the upper layer cannot be read. */
  walk(): Found {
    const { table, directories } = this.#layer;
    required(statusAt(directories.upper, EMPTY, this.#status), ROOT_PATH);
    const root = this.#directory(table.find(ROOT_INO), EMPTY, ROOT_PATH, 0);
    this.#visit(root);
    return root;
  }

  refuse(path: Uint8Array, why: string): void {
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

  /** A file of the old image that is visible at a name, and all below it, must be in the new one. */
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
        this.refuse(place(), 'it is not in the new image');
        continue;
      }
      if ((this.#comparison.compare(before, after) & ASPECT_BITS) !== 0) {
        this.refuse(place(), 'it is another one in the new image');
        continue;
      }
      this.#identify(after, before);
      if (isDirectory(tables, before)) this.#compareEntries(before, after, place, left);
      else if (tables.inodes.nlink[before] !== this.#next.inodes.nlink[after]) {
        this.refuse(place(), 'it has other names in the new image');
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
      if (lookupName(tables, before, name) < 0) this.refuse(pathIn(place(), name), 'the mount does not have it');
    }
  }

  /** An inode of the new image is one of the old image. */
  #identify(now: number, before: number): void {
    const { id, generation } = this.#layer.tables.inodes;
    this.#identities.give(now, { id: u64(id, before), generation: generation[before] as number });
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
    let file = this.files.get(row);
    if (file === undefined) {
      file = { row, path, next, isOneInode: true, names: 0, hasLowerNames: false, isDropped: false };
      this.files.set(row, file);
    }
    file.names++;
    if (file.next !== next) file.isOneInode = false;
    if (!isUpper) file.hasLowerNames = true;
    found?.files.push({ name, file });
  }
}

function* namesOf(tables: ManifestTables, directory: number): Generator<Uint8Array> {
  const [from, to] = direntRange(tables, directory);
  for (let dirent = from; dirent < to; dirent++) yield direntName(tables, dirent);
}
