/**
 * Open files of a mount: with passthrough, the kernel reads the object's file itself; else it is read through this
 * process. Shared between the worker threads, because an OPEN and its RELEASE may reach different threads.
 *
 * The kernel's rules for passthrough (fs/fuse/passthrough.c, fs/fuse/iomode.c): FOPEN_PASSTHROUGH comes without
 * FOPEN_KEEP_CACHE; while an inode has any file open, every further open uses the same backing id; an inode is read
 * either by passthrough or through the page cache, never both at once. The id outlives the descriptor.
 *
 * All shared data is read and written under one mutex, by plain accesses: releasing a mutex happens before it is taken
 * again, so each thread sees the writes of the previous one. The exception is the first check of `reopen`, which only
 * saves a look at the file: in any case the mutex is taken before anything is counted. Under the mutex no file system
 * is accessed except by the calls of the registry.
 */
import { totalmem } from 'node:os';
import { EIO, type Errno, isErrno } from '../base/errno.ts';
import type { Filesystem, OpenFile } from '../fs/filesystem.ts';
import { SharedMutex } from '../system/shared-mutex.ts';
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH, FOPEN_PASSTHROUGH } from './abi.ts';

/** The kernel's registry of backing files, FUSE_DEV_IOC_BACKING_OPEN and _CLOSE. */
export interface BackingRegistry {
  /** A positive id for the file of `fd`. */
  open(fd: number): number | Errno;
  close(id: number): void;
}

/** The journal of open files; see open-file-journal.ts. */
export interface Journal {
  write(slot: number, backing: number, opens: number, identity: number): void;
}

/** The answer to an OPEN. */
export interface Opened {
  /** Low and high word of fh. */
  readonly low: number;
  readonly high: number;
  readonly flags: number;
  readonly backingId: number;
}

/**
 * Backing ids that are kept for the next open after their files are closed: each pins an open file in the kernel, with
 * an inode and a dentry, about 1.5 KB. They may take a 64th of the memory.
 */
const MOST_KEPT = 131_072;
const KEPT_COST = 1_536;
const MEMORY_SHARE = 64;
/** `low` of a file handle that is read here: the epoch, and a descriptor, of which a Linux process has at most 2^20. */
const EPOCH_UNIT = 1 << 20;
const EPOCHS = 2047;
/** In `low` of a file handle: read by the kernel, no descriptor here. */
const PASSTHROUGH_HANDLE = 0x8000_0000;
/** In place of a backing id: the inode is open through the page cache. Below all error numbers, which end at -4095. */
export const THROUGH_CACHE = -4096;
const CACHED_FLAGS = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH;
const PASSTHROUGH_FLAGS = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH;
const HEADER_WORDS = 4;
const MUTEX = 0;
/** Places on the clock, and the number of places that were ever used. */
const PLACES = 1;
const TAKEN = 2;
const HAND = 3;
/**
 * In `marks`: the slot has a place on the clock; it was opened again since the hand passed; its count came from an
 * earlier process, and may be too high.
 */
const LISTED = 1;
const AGAIN = 2;
const INHERITED = 4;
/** The number of places that the hand examines before it gives up. */
const LOOKS = 256;

const defaultKept = (): number => Math.min(MOST_KEPT, Math.floor(totalmem() / MEMORY_SHARE / KEPT_COST));

/**
 * Shared memory for a file system of `slots` inodes: 13 bytes each; untouched pages cost nothing.
 * @param kept backing ids that are kept although the file is not open
 */
export function allocateOpenFileState(slots: number, kept: number = defaultKept()): SharedArrayBuffer {
  const state = new SharedArrayBuffer((HEADER_WORDS + kept + slots * 3) * 4 + slots);
  new Int32Array(state, 0, HEADER_WORDS)[PLACES] = kept;
  return state;
}

/** The journal's entry for one slot. */
export interface RestoredFile {
  readonly slot: number;
  /** A backing id, 0, or that the inode is read through the page cache. */
  readonly backing: number;
  readonly opens: number;
  /** `fileIdentity` of the backing file. */
  readonly identity: number;
}

export class OpenFiles {
  readonly #fs: Filesystem;
  readonly #registry: BackingRegistry | undefined;
  readonly #header: Int32Array;
  readonly #mutex: SharedMutex;
  /** The slots whose ids are kept, slot + 1 each: a hand goes round and drops those that were not opened again. */
  readonly #clock: Int32Array;
  readonly #journal: Journal | undefined;
  /** Above the descriptor in `low` of a file handle. */
  readonly #epoch: number;
  readonly #outlives: boolean;
  /** Backing id of each slot, 0 for none, or THROUGH_CACHE. */
  readonly #backing: Int32Array;
  /** Open files of each slot. */
  readonly #opens: Int32Array;
  /** The identity of the backing file, `fileIdentity`. */
  readonly #identity: Uint32Array;
  /** LISTED, AGAIN, INHERITED of each slot. */
  readonly #marks: Uint8Array;

  /**
   * @param registry undefined if passthrough is not available: every file is read through this process
   * @param journal receives every change, for the next server of the mount
   * @param epoch numbers the processes that serve the mount, from 0: descriptors of an earlier one are not valid here
   * @param outlives a file may be open longer than its object exists: objects of a cache are deleted and fetched again
   */
  constructor(
    fs: Filesystem,
    state: SharedArrayBuffer,
    registry: BackingRegistry | undefined,
    journal?: Journal,
    epoch = 0,
    outlives = false,
  ) {
    this.#fs = fs;
    this.#registry = registry;
    this.#journal = journal;
    this.#epoch = (epoch % EPOCHS) * EPOCH_UNIT;
    this.#outlives = outlives;
    this.#header = new Int32Array(state, 0, HEADER_WORDS);
    this.#mutex = new SharedMutex(this.#header, MUTEX);
    let at = HEADER_WORDS * 4;
    const places = this.#header[PLACES] as number;
    this.#clock = new Int32Array(state, at, places);
    at += places * 4;
    this.#backing = new Int32Array(state, at, fs.slots);
    at += fs.slots * 4;
    this.#opens = new Int32Array(state, at, fs.slots);
    at += fs.slots * 4;
    this.#identity = new Uint32Array(state, at, fs.slots);
    at += fs.slots * 4;
    this.#marks = new Uint8Array(state, at, fs.slots);
  }

  /**
   * Opens a file whose backing id is known and whose object is unchanged, without opening or hashing anything: does not
   * block. Undefined if that is not possible; use `open` then.
   */
  reopen(slot: number): Opened | undefined {
    if (this.#registry === undefined) return undefined;
    if ((this.#backing[slot] ?? 0) <= 0) return undefined;
    const identity = this.#fs.current(slot);
    if (identity < 0) return undefined;
    const backingId = this.#mutex.hold(() => this.#countKnown(slot, identity));
    if (backingId === 0) return undefined;
    return { low: PASSTHROUGH_HANDLE, high: slot, flags: PASSTHROUGH_FLAGS, backingId };
  }

  open(slot: number): Opened | Errno {
    const file = this.#fs.open(slot);
    if (isErrno(file)) return file;
    if (this.#registry === undefined) return this.#cached(file);
    const backingId = this.#mutex.hold(() => this.#acquire(file, this.#registry as BackingRegistry));
    if (backingId === THROUGH_CACHE) return this.#cached(file);
    this.#fs.release(file.handle);
    if (isErrno(backingId)) return backingId;
    return { low: PASSTHROUGH_HANDLE, high: file.slot, flags: PASSTHROUGH_FLAGS, backingId };
  }

  /** @param again the process that served the mount before may have released it already: it is not counted twice */
  release(low: number, high: number, again = false): void {
    if (this.#registry !== undefined && !again)
      this.#mutex.hold(() => this.#relinquish(high, this.#registry as BackingRegistry));
    if (low !== PASSTHROUGH_HANDLE && this.#isOurs(low)) this.#fs.release(low - this.#epoch);
  }

  /**
   * Reads an open file. `low`: of its handle. A file that was opened by an earlier process is opened again for this
   * read.
   */
  read(nodeid: number, low: number, offset: number, into: Uint8Array): number | Errno {
    if (this.#fs.features.openless) return this.#fs.read(nodeid, low, offset, into);
    if (this.#isOurs(low)) return this.#fs.read(nodeid, low - this.#epoch, offset, into);
    const file = this.#fs.open(this.#fs.slotOf(nodeid));
    if (isErrno(file)) return file;
    try {
      return this.#fs.read(nodeid, file.handle, offset, into);
    } finally {
      this.#fs.release(file.handle);
    }
  }

  #isOurs(low: number): boolean {
    return low >= this.#epoch && low < this.#epoch + EPOCH_UNIT;
  }

  #cached(file: OpenFile): Opened {
    return { low: this.#epoch + file.handle, high: file.slot, flags: CACHED_FLAGS, backingId: 0 };
  }

  /** Without an id there is no identity: see the journal. */
  #write(slot: number): void {
    const backing = this.#backing[slot] as number;
    const identity = backing > 0 ? (this.#identity[slot] as number) : 0;
    this.#journal?.write(slot, backing, this.#opens[slot] as number, identity);
  }

  /** Takes over the journal of an earlier process, before the first request. */
  restore(entries: Iterable<RestoredFile>): void {
    for (const { slot, backing, opens, identity } of entries) {
      if (slot >= this.#fs.slots) continue;
      this.#backing[slot] = backing;
      this.#opens[slot] = opens;
      this.#identity[slot] = identity;
      if (opens > 0) this.#marks[slot] = INHERITED;
      if (backing > 0 && this.#registry !== undefined) this.#list(slot, this.#registry);
    }
  }

  /**
   * Gives up the ids that are kept for closed files of which the objects are no longer there: each keeps its file from
   * being freed.
   */
  dropGone(): void {
    const registry = this.#registry;
    if (registry === undefined) return;
    for (let place = 0; place < (this.#header[TAKEN] as number); place++) {
      const slot = (this.#clock[place] as number) - 1;
      // it is looked at again under the mutex, where no file system is accessed
      if (!this.#isKeptOnly(slot) || this.#fs.current(slot) >= 0) continue;
      this.#mutex.hold(() => this.#dropKept(slot, registry));
    }
  }

  #dropKept(slot: number, registry: BackingRegistry): void {
    if (this.#isKeptOnly(slot)) this.#drop(slot, registry);
  }

  #isKeptOnly(slot: number): boolean {
    return (this.#opens[slot] ?? 1) === 0 && (this.#backing[slot] ?? 0) > 0;
  }

  /** Counts one more open of the slot and says how it is read: a backing id, or THROUGH_CACHE. */
  #acquire(file: OpenFile, registry: BackingRegistry): number | Errno {
    const { slot, fd, identity } = file;
    const known = this.#backing[slot] as number;
    const opens = this.#opens[slot] as number;
    if (opens > 0 && known === THROUGH_CACHE) return this.#count(slot, THROUGH_CACHE);
    if (known > 0) {
      const same = fd < 0 ? 0 : this.#countKnown(slot, identity);
      if (same > 0) return same;
      // the kernel has the file that was verified when it was opened first: readers share it until the last one closes
      if (opens > 0 && this.#outlives) return this.#count(slot, known);
      // the object's file was replaced, or another repository serves it now. As long as a reader has the old file open,
      // the kernel accepts no other: this open cannot use the file that was just verified. An inherited count does not
      // tell whether there is a reader: the kernel is asked, and fails with EIO itself
      if (opens > 0 && ((this.#marks[slot] as number) & INHERITED) === 0) return EIO;
      this.#drop(slot, registry);
    }
    if (fd < 0) return this.#count(slot, THROUGH_CACHE);
    const id = registry.open(fd);
    // ELOOP, for example: the file is on a stacked file system. Such an inode goes through the page cache
    if (isErrno(id)) return this.#count(slot, THROUGH_CACHE);
    this.#identity[slot] = identity;
    this.#list(slot, registry);
    return this.#count(slot, id);
  }

  /** Counts one more open with the known id, if that is of this file; else returns 0. */
  #countKnown(slot: number, identity: number): number {
    const known = this.#backing[slot] as number;
    if (known <= 0 || this.#identity[slot] !== identity) return 0;
    this.#marks[slot] = (this.#marks[slot] as number) | AGAIN;
    return this.#count(slot, known);
  }

  #count(slot: number, backing: number): number {
    this.#backing[slot] = backing;
    this.#opens[slot] = (this.#opens[slot] as number) + 1;
    this.#write(slot);
    return backing;
  }

  #relinquish(slot: number, registry: BackingRegistry): void {
    const opens = Math.max((this.#opens[slot] as number) - 1, 0);
    this.#opens[slot] = opens;
    if (opens > 0) {
      this.#write(slot);
      return;
    }
    // exact again: an inherited count can only be too high
    this.#marks[slot] = (this.#marks[slot] as number) & ~INHERITED;
    const isKept = ((this.#marks[slot] as number) & LISTED) !== 0;
    if (this.#backing[slot] === THROUGH_CACHE) this.#backing[slot] = 0;
    else if (!isKept) this.#drop(slot, registry);
    this.#write(slot);
  }

  /**
   * Assigns the slot a place on the clock. If all places belong to open files, it gets none, and its id is dropped when
   * it is closed.
   */
  #list(slot: number, registry: BackingRegistry): void {
    if (((this.#marks[slot] as number) & LISTED) !== 0) return;
    const place = this.#freePlace(registry);
    if (place < 0) return;
    this.#clock[place] = slot + 1;
    this.#marks[slot] = (this.#marks[slot] as number) | LISTED;
  }

  /** A place on the clock, taken from a file that is not open; -1 if none is found soon. */
  #freePlace(registry: BackingRegistry): number {
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
      const slot = (this.#clock[place] as number) - 1;
      const marks = this.#marks[slot] as number;
      if ((this.#opens[slot] as number) > 0) continue;
      if ((marks & AGAIN) === 0) {
        this.#drop(slot, registry);
        this.#marks[slot] = 0;
        return place;
      }
      this.#marks[slot] = marks & ~AGAIN;
    }
    return -1;
  }

  /** Recorded before the id is closed: after that it may refer to another file. */
  #drop(slot: number, registry: BackingRegistry): void {
    const id = this.#backing[slot] as number;
    this.#backing[slot] = 0;
    this.#write(slot);
    if (id > 0) registry.close(id);
  }
}
