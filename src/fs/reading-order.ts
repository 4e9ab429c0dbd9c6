/**
 * Predicts reads. A program that reads a tree (tar, cp, rsync, grep) opens the files of a directory in the order in
 * which it was listed; after a few opens in that order, the following files are worth fetching before they are
 * requested.
 */
import { directoryOfDirent, direntRange, isDirectory, objectOf } from '../manifest/lookup.ts';
import { inodeCount, type ManifestTables } from '../manifest/tables.ts';

/** Directories that are remembered as listed: a walk returns to the parents of its current directory. */
const DIRECTORIES = 16;
/** Opens in the expected order before anything is fetched. */
const ENOUGH = 3;
/** Files that are fetched ahead of the last one opened. */
const AHEAD = 32;
/** Names that are searched for the inode that was opened. */
const SEARCH = 4096;

interface Listed {
  /** The dirents of the directory, from the first up to but excluding the second. */
  readonly begin: number;
  readonly end: number;
  /** The expected position of the next opened file. */
  next: number;
  /** Everything before this was fetched, or opened. */
  fetched: number;
}

export class ReadingOrder {
  readonly #tables: ManifestTables;
  readonly #fetch: (object: number) => void;
  /** The most recently listed or read first. */
  #directories: Listed[] = [];
  #looked = -1;
  #streak = 0;

  /** @param fetch receives the index of an object that is likely to be opened soon */
  constructor(tables: ManifestTables, fetch: (object: number) => void) {
    this.#tables = tables;
    this.#fetch = fetch;
  }

  /** The directory in `row` began to be listed. */
  listed(row: number): void {
    if (row >= inodeCount(this.#tables) || !isDirectory(this.#tables, row)) return;
    const directory = this.#remember(row);
    directory.next = directory.begin;
    if (this.#streak >= ENOUGH) this.#fetchFrom(directory, directory.begin);
  }

  /** The name in `dirent` was looked up. */
  looked(dirent: number): void {
    this.#looked = dirent;
  }

  /** The file in `row` is opened for the first time. */
  opened(row: number): void {
    const place = this.#find(row);
    if (place === undefined) {
      this.#streak = 0;
      return;
    }
    const { directory, dirent } = place;
    this.#streak = this.#isExpected(directory, dirent) ? this.#streak + 1 : 0;
    directory.next = dirent + 1;
    if (this.#streak >= ENOUGH) this.#fetchFrom(directory, dirent + 1);
  }

  /** No other file is between the expected one and this one. */
  #isExpected({ next }: Listed, dirent: number): boolean {
    if (dirent < next) return false;
    for (let at = next; at < dirent; at++) if (this.#objectAt(at) >= 0) return false;
    return true;
  }

  #fetchFrom(directory: Listed, from: number): void {
    let left = AHEAD;
    let at = from;
    for (; at < directory.end && left > 0; at++) {
      const object = this.#objectAt(at);
      if (object < 0) continue;
      left--;
      if (at >= directory.fetched) this.#fetch(object);
    }
    directory.fetched = Math.max(directory.fetched, at);
  }

  #find(row: number): { readonly directory: Listed; readonly dirent: number } | undefined {
    const { inode } = this.#tables.dirents;
    const looked = this.#looked;
    if (looked >= 0 && inode[looked] === row) {
      return { directory: this.#remember(directoryOfDirent(this.#tables, looked)), dirent: looked };
    }
    for (const directory of this.#directories) {
      const to = Math.min(directory.end, directory.next + SEARCH);
      for (let dirent = directory.next; dirent < to; dirent++) if (inode[dirent] === row) return { directory, dirent };
    }
    return undefined;
  }

  /** The directory in `row`, as the most recent one. */
  #remember(row: number): Listed {
    const [begin, end] = direntRange(this.#tables, row);
    const known = this.#directories.find((one) => one.begin === begin && one.end === end);
    const directory = known ?? { begin, end, next: begin, fetched: begin };
    this.#directories = [directory, ...this.#directories.filter((one) => one !== directory)].slice(0, DIRECTORIES);
    return directory;
  }

  /** The object of a regular file; -1 if the dirent is something else, or its content is in the image. */
  #objectAt(dirent: number): number {
    return objectOf(this.#tables, this.#tables.dirents.inode[dirent] as number);
  }
}
