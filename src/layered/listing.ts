/**
 * Listing merged directories. First come the names that the image has, in its order; a name that the upper layer has as
 * well is listed there, as its entry. Then come the names of the upper layer alone, in the order of a hash. So the
 * place of an entry does not change when it is copied up, or others come and go, and a cookie stays valid: it is the
 * number of an entry of the image, or a hash. Two names of one directory have the same hash of 50 bits with a
 * probability of 1 to 2,000 even among a million; of these, one may be missing if an answer ends between them.
 *
 * The names of the upper layer are listed once for each thread and directory, and again when an entry was added.
 */

import { type Errno, isErrno } from '../base/errno.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import type { WritableAttributes } from '../fs/writable-filesystem.ts';
import { lookupDirent, parentOfDirectory, rowOfId } from '../manifest/lookup.ts';
import { u64 } from '../manifest/tables.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { statusAt } from '../system/file-status.ts';
import { UPPER } from '../upper/identity-table.ts';
import { attributesOf, completeImage, fillFrom, upperAttributes } from './attributes.ts';
import { type Directory, directoryOf } from './directories.ts';
import { adopt, isWhiteoutEntry, lowerAsEntry } from './entries.ts';
import { HashedNames } from './hashed-names.ts';
import type { Layer } from './layer.ts';
import { additionsOf } from './layer-rows.ts';

type Sink = (name: Uint8Array, next: number) => boolean;

const DOT = Uint8Array.of(0x2e);
const DOTDOT = Uint8Array.of(0x2e, 0x2e);
/** Cookies below are of the image: 2 is its first entry. */
const FIRST_HASH = 2 ** 51;

/** The names in a directory of the upper layer, at one time. */
interface Names {
  readonly ino: number;
  readonly additions: number;
  /** Names that the image has, too, in latin1. */
  readonly shared: ReadonlySet<string>;
  /** Names that only the upper layer has. */
  readonly own: HashedNames;
}

export class Listings {
  readonly #layer: Layer;
  /** The last directories, the latest used last. */
  readonly #known = new Map<number, Names>();
  #entries = 0;

  constructor(layer: Layer) {
    this.#layer = layer;
  }

  /** As `WritableFilesystem.readdir`. */
  list(ino: number, from: number, out: WritableAttributes, sink: Sink): Errno | 0 {
    const layer = this.#layer;
    const directory = directoryOf(layer, ino);
    if (isErrno(directory)) return directory;
    if (from === 0) {
      const result = attributesOf(layer, ino, out);
      if (result !== 0) return result;
      if (!sink(DOT, 1)) return 0;
    }
    if (from <= 1) {
      const result = attributesOf(layer, parentOf(layer, ino), out);
      if (result !== 0) return result;
      if (!sink(DOTDOT, 2)) return 0;
    }
    const names = directory.fd < 0 ? undefined : this.#namesIn(directory, from === 0);
    if (isErrno(names)) return names;
    if (from < FIRST_HASH && directory.lower >= 0) {
      const isFull = this.#listImage(directory, names, Math.max(from, 2), out, sink);
      if (isErrno(isFull)) return isFull;
      if (isFull) return 0;
    }
    return names === undefined ? 0 : this.#listOwn(directory, names, Math.max(from - FIRST_HASH, 0), out, sink);
  }

  /** The directory is no longer being read. */
  forget(ino: number): void {
    this.#entries -= this.#known.get(ino)?.own.length ?? 0;
    this.#known.delete(ino);
  }

  #listImage(
    { fd, row, ino, lower }: Directory,
    names: Names | undefined,
    from: number,
    out: WritableAttributes,
    sink: Sink,
  ): boolean | Errno {
    const layer = this.#layer;
    const { image, table, tables, status } = layer;
    let isFull = false;
    let failure: Errno | undefined;
    const result = image.readdir(u64(tables.inodes.id, lower), from, out, (name, next) => {
      if (names?.shared.has(latin1(name)) === true) {
        const looked = statusAt(fd, name, status);
        if (looked === 0) {
          if (isWhiteoutEntry(layer, { fd, row, ino, lower }, name, status)) return true;
          failure = this.#fillEntry({ fd, row, ino, lower }, name, out);
          if (failure !== undefined) return false;
          isFull = !sink(name, next);
          return !isFull;
        }
      }
      const id = out.ino;
      if (layer.linkNames !== undefined) out.ino = layer.idAtName(lower, name, rowOfId(tables, id));
      let known = table.find(out.ino);
      const isUpper = known >= 0 && (table.flags(known) & UPPER) !== 0;
      if (isUpper) {
        const entry = lowerAsEntry(layer, rowOfId(tables, id), out.ino);
        if (isErrno(entry)) {
          failure = entry;
          return false;
        }
        known = entry.row;
      }
      if (isUpper && known >= 0) upperAttributes(layer, known, out);
      else completeImage(layer, known, out);
      isFull = !sink(name, next);
      return !isFull;
    });
    return failure ?? (result === 0 ? isFull : result);
  }

  #listOwn(directory: Directory, names: Names, from: number, out: WritableAttributes, sink: Sink): Errno | 0 {
    const { status } = this.#layer;
    for (let i = names.own.firstFrom(from); i < names.own.length; i++) {
      const name = names.own.name(i);
      // it was removed in the meantime
      if (statusAt(directory.fd, name, status) !== 0) continue;
      if (isWhiteoutEntry(this.#layer, directory, name, status)) continue;
      const failure = this.#fillEntry(directory, name, out);
      if (failure !== undefined) return failure;
      if (!sink(name, FIRST_HASH + names.own.hash(i) + 1)) return 0;
    }
    return 0;
  }

  /** Called after the entry was looked up. */
  #fillEntry(directory: Directory, name: Uint8Array, out: WritableAttributes): Errno | undefined {
    const layer = this.#layer;
    const row = adopt(layer, directory, name, layer.status);
    if (isErrno(row)) return row;
    const filled = fillFrom(layer, row, layer.status, out);
    return filled === 0 ? undefined : filled;
  }

  #namesIn(directory: Directory, isStart: boolean): Names | Errno {
    const { ino, row } = directory;
    const additions = additionsOf(this.#layer.table, row);
    const known = this.#known.get(ino);
    if (!isStart && known?.additions === additions) return known;
    this.forget(ino);
    const names = this.#read(directory, additions);
    if (isErrno(names)) return names;
    this.#known.set(ino, names);
    this.#entries += names.own.length;
    for (const old of this.#known.keys()) {
      if (old === ino || (this.#known.size <= MOST_DIRECTORIES && this.#entries <= MOST_ENTRIES)) break;
      this.forget(old);
    }
    return names;
  }

  #read({ fd, ino, lower }: Directory, additions: number): Names | Errno {
    const { tables } = this.#layer;
    const shared = new Set<string>();
    let listed: 0 | Errno = 0;
    const own = HashedNames.of((add) => {
      listed = readDirectory(fd, (name) => {
        if (lower >= 0 && lookupDirent(tables, lower, name) >= 0) shared.add(latin1(name));
        else add(name);
      });
    });
    return isErrno(listed) ? listed : { ino, additions, shared, own };
  }
}

const MOST_DIRECTORIES = 64;
const MOST_ENTRIES = 100_000;

const latin1 = (name: Uint8Array): string => Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1');

/** The parent directory; the root's is the root. */
export function parentOf(layer: Layer, ino: number): number {
  if (ino === ROOT_INO) return ROOT_INO;
  const { table, tables } = layer;
  const row = table.find(ino);
  const named = row < 0 ? undefined : table.nameOf(row);
  if (named !== undefined) return named.parent;
  const lower = rowOfId(tables, ino);
  return lower < 0 ? ino : u64(tables.inodes.id, parentOfDirectory(tables, lower));
}
