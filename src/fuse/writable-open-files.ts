/**
 * Open files of a writable mount. The kernel itself reads and writes files of the upper layer (passthrough);
 * content in the image, and everything without passthrough, goes through the page cache. Shared between the threads.
 *
 * What the kernel demands is in open-files.ts: while an inode is open in one way, every further open is of that way,
 * with the same backing id. So a file that is opened in the image stays with the page cache until its last release,
 * also if it is copied up meanwhile. Readers and writers use one id: the kernel opens the file again for each with its
 * flags, and with the credentials of the thread that registered it. They decide which set-id bits a write removes:
 * `asWriterOf`.
 *
 * A kept id pins the blocks of its file: it is closed once the file has no name and is not open.
 *
 * Counts and ids are in a table that outlives the server. An id is recorded before an open is counted, and 0 before the
 * id is closed; an open is counted before it is answered, and a release that an earlier server may have counted is not.
 * So a count is never too low, and a recorded id is of that inode. A count that may be too high is inherited; it is
 * exact again when it is 0, or the kernel forgets the inode.
 */
import { ENFILE, type Errno, isErrno } from '../base/errno.ts';
import type { InodeEvents } from '../fs/writable-filesystem.ts';
import { SharedMutex } from '../system/shared-mutex.ts';
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH, FOPEN_PASSTHROUGH } from './abi.ts';
import { type BackingRegistry, type Opened, THROUGH_CACHE } from './open-files.ts';

/**
 * Opens and backing ids of inodes, by rows: a part of the table of identities. Threads call it beside the methods of
 * the file system. Only `find` may wait for another thread. A row stays while the inode is open or has an id: before it
 * goes, `forgotten` is called.
 */
export interface OpenTable {
  /** The row of an inode that the kernel knows, also of one that is only in the image; -1 if there is none. */
  find(ino: number): number;
  opens(row: number): number;
  addOpens(row: number, change: number): unknown;
  /** A positive id, 0, or THROUGH_CACHE. */
  backing(row: number): number;
  setBacking(row: number, backing: number): void;
  /** A word that is 0 at first. It means nothing to another server. */
  mark(row: number): number;
  setMark(row: number, mark: number): void;
  /** Whether the kernel may have pages of it that are out of date; false from the next call on. */
  takeOutdated(row: number): boolean;
  /** False once the last name is gone. */
  isNamed(row: number): boolean;
}

const HEADER_WORDS = 4;
const MUTEX = 0;
const PLACES = 1;
const TAKEN = 2;
const HAND = 3;
/** In a place: the row was opened again since the hand passed. */
const AGAIN = 0x8000_0000;
const ROW = 0x7fff_ffff;
/** Places that the hand examines before it gives up. */
const LOOKS = 256;
/** In place of a place + 1: the count came from an earlier server. */
const INHERITED = -1;
/** In `low` of a file handle: reads and writes do not come here. Useful only for debugging. */
const PASSTHROUGH_HANDLE = 0x8000_0000;
const MOST_KEPT = 16_384;

/** Memory that the threads share. @param kept backing ids that are kept although the file is not open */
export function allocateWritableOpenFileState(kept: number = MOST_KEPT): SharedArrayBuffer {
  const state = new SharedArrayBuffer((HEADER_WORDS + kept) * 4);
  new Int32Array(state, 0, HEADER_WORDS)[PLACES] = kept;
  return state;
}

/** Runs `work` with credentials with which writes to the file `fd` have the effects of an ordinary process's. */
export type AsWriterOf = <T>(fd: number, work: () => T) => T;

export class WritableOpenFiles implements InodeEvents {
  readonly #table: OpenTable;
  readonly #registry: BackingRegistry | undefined;
  readonly #asWriterOf: AsWriterOf;
  readonly #header: Int32Array;
  readonly #mutex: SharedMutex;
  /** Rows whose ids are kept, row + 1 each, perhaps AGAIN; 0 for a free place. */
  readonly #clock: Uint32Array;

  /**
   * @param registry undefined if passthrough is not available
   * @param asWriterOf runs `work` in a thread with the credentials that files are registered with
   */
  constructor(
    table: OpenTable,
    state: SharedArrayBuffer,
    registry: BackingRegistry | undefined,
    asWriterOf: AsWriterOf,
  ) {
    this.#table = table;
    this.#registry = registry;
    this.#asWriterOf = asWriterOf;
    this.#header = new Int32Array(state, 0, HEADER_WORDS);
    this.#mutex = new SharedMutex(this.#header, MUTEX);
    this.#clock = new Uint32Array(state, HEADER_WORDS * 4, this.#header[PLACES] as number);
  }

  /**
   * Opens for reading a file that the kernel has open already, or whose id is kept. Undefined if there is none: the
   * file system is to open it then, and `add` it.
   */
  reopen(ino: number): Opened | undefined {
    if (this.#registry === undefined) return undefined;
    return this.#withRow(ino, undefined, (row) => {
      const backing = this.#table.backing(row);
      return backing > 0 ? this.#count(row, backing) : undefined;
    });
  }

  /**
   * Counts an open of the inode.
   * @param fd of its file in the upper layer; -1 if its content is in the image. Not needed afterwards
   */
  add(ino: number, fd: number): Opened | Errno {
    return this.#withRow<Opened | Errno>(ino, ENFILE, (row) => {
      const known = this.#table.backing(row);
      // an id without an open is a kept one; THROUGH_CACHE without is none
      if (known > 0 || (known < 0 && this.#table.opens(row) > 0)) return this.#count(row, known);
      const id = fd < 0 ? THROUGH_CACHE : this.#register(fd);
      this.#table.setBacking(row, id);
      const opened = this.#count(row, id);
      // the page cache may hold the content from before it was written by passthrough
      const isWritten = fd >= 0 && this.#registry !== undefined;
      const isStale = id === THROUGH_CACHE && (this.#table.takeOutdated(row) || isWritten);
      return isStale ? { ...opened, flags: FOPEN_NOFLUSH } : opened;
    });
  }

  /**
   * @param again an earlier server may have counted it already
   * @returns whether it was the last one
   */
  release(ino: number, again = false): boolean {
    if (again) return false;
    return this.#withRow(ino, false, (row) => {
      const table = this.#table;
      if (table.opens(row) <= 0) return false;
      table.addOpens(row, -1);
      if (table.opens(row) > 0) return false;
      if (table.mark(row) === INHERITED) table.setMark(row, 0);
      if (!this.#tryToKeep(row)) this.#drop(row);
      return true;
    });
  }

  unnamed(ino: number): void {
    this.#withRow(ino, undefined, (row) => {
      if (this.#table.opens(row) <= 0) this.#drop(row);
    });
  }

  /** The file has got another group or set-group-ID bit: a kept id has the credentials for what it was before. */
  regrouped(ino: number): void {
    this.unnamed(ino);
  }

  forgotten(ino: number): void {
    this.#withRow(ino, undefined, (row) => {
      const table = this.#table;
      const opens = table.opens(row);
      // counted here, so its RELEASE comes; it may be read after the FORGET
      if (opens > 0 && table.mark(row) !== INHERITED) return;
      table.addOpens(row, -opens);
      this.#drop(row);
    });
  }

  /** For the first server of a mount, whose table is of an earlier one: nothing is open. @param rows all of them */
  begin(rows: Iterable<number>): void {
    const table = this.#table;
    for (const row of rows) {
      table.addOpens(row, -table.opens(row));
      table.setBacking(row, 0);
      table.setMark(row, 0);
    }
  }

  /** Takes over the table of an earlier server of the mount, before the first request. @param rows all of them */
  restore(rows: Iterable<number>): void {
    const table = this.#table;
    for (const row of rows) {
      // the places of the earlier server are not these
      table.setMark(row, table.opens(row) > 0 ? INHERITED : 0);
      if (table.opens(row) > 0 || table.backing(row) === 0) continue;
      if (!this.#tryToKeep(row)) this.#drop(row);
    }
  }

  /** Finds the row first: the table may wait for a lock that the file system holds as it calls `unnamed`. */
  #withRow<T>(ino: number, otherwise: T, work: (row: number) => T): T {
    const row = this.#table.find(ino);
    return row < 0 ? otherwise : this.#mutex.hold(() => work(row));
  }

  #register(fd: number): number {
    const registry = this.#registry;
    if (registry === undefined) return THROUGH_CACHE;
    const id = this.#asWriterOf(fd, () => registry.open(fd));
    // ELOOP, for example: the upper layer is on a stacked file system. Such a file goes through the page cache
    return isErrno(id) ? THROUGH_CACHE : id;
  }

  #count(row: number, backing: number): Opened {
    this.#table.addOpens(row, 1);
    if (backing <= 0) return { low: 0, high: 0, flags: FOPEN_KEEP_CACHE | FOPEN_NOFLUSH, backingId: 0 };
    const place = this.#placeOf(row);
    if (place >= 0) this.#clock[place] = ((this.#clock[place] as number) | AGAIN) >>> 0;
    return { low: PASSTHROUGH_HANDLE, high: 0, flags: FOPEN_PASSTHROUGH | FOPEN_NOFLUSH, backingId: backing };
  }

  /** The row's place on the clock, -1 for none. */
  #placeOf(row: number): number {
    const place = this.#table.mark(row) - 1;
    return place >= 0 && ((this.#clock[place] ?? 0) & ROW) === row + 1 ? place : -1;
  }

  /** Gives a closed file a place on the clock; false if there is nothing to keep, or all belong to open files. */
  #tryToKeep(row: number): boolean {
    if (this.#table.backing(row) <= 0 || !this.#table.isNamed(row)) return false;
    if (this.#placeOf(row) >= 0) return true;
    const place = this.#freePlace();
    if (place < 0) return false;
    this.#clock[place] = row + 1;
    this.#table.setMark(row, place + 1);
    return true;
  }

  #freePlace(): number {
    const header = this.#header;
    const places = header[PLACES] as number;
    const taken = header[TAKEN] as number;
    if (taken < places) {
      header[TAKEN] = taken + 1;
      return taken;
    }
    for (let look = Math.min(LOOKS, places * 2); look > 0; look--) {
      const place = header[HAND] as number;
      header[HAND] = (place + 1) % places;
      const held = this.#clock[place] as number;
      if (held === 0) return place;
      const row = (held & ROW) - 1;
      if (this.#table.opens(row) > 0) continue;
      if (held >= AGAIN) this.#clock[place] = held & ROW;
      else {
        this.#drop(row);
        return place;
      }
    }
    return -1;
  }

  /** Recorded before the id is closed: after that it may refer to another file. */
  #drop(row: number): void {
    const place = this.#placeOf(row);
    if (place >= 0) this.#clock[place] = 0;
    this.#table.setMark(row, 0);
    const id = this.#table.backing(row);
    this.#table.setBacking(row, 0);
    if (id > 0) this.#registry?.close(id);
  }
}
