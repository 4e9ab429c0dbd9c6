/**
 * Open files of a mount: with passthrough, where the kernel reads the object's file itself, or through
 * this process. Shared between the worker threads, because an OPEN and its RELEASE may reach different
 * ones.
 *
 * What the kernel demands of passthrough (fs/fuse/passthrough.c, fs/fuse/iomode.c): FOPEN_PASSTHROUGH comes
 * alone; while an inode has any file open, every further open uses the same backing id; an inode is read
 * either by passthrough or through the page cache, never both at once. The id outlives the descriptor.
 */
import { fstatSync } from 'node:fs';
import { EIO, type Errno, isErrno } from '../errno.ts';
import { fileIdentity } from '../file-identity.ts';
import type { Filesystem, OpenFile } from '../fs/filesystem.ts';
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH, FOPEN_PASSTHROUGH } from './abi.ts';
import { SharedMutex } from './shared-mutex.ts';

/** The kernel's registry of backing files, FUSE_DEV_IOC_BACKING_OPEN and _CLOSE. */
export interface BackingRegistry {
  /** A positive id for the file of `fd`. */
  open(fd: number): number | Errno;
  close(id: number): void;
}

/** What an OPEN is answered with. */
export interface Opened {
  /** Low and high word of fh. */
  readonly low: number;
  readonly high: number;
  readonly flags: number;
  readonly backingId: number;
}

/** Backing ids of closed files that are kept for the next open: each pins one open file in the kernel. */
const IDLE_IDS = 4096;
/** In `low` of a file handle: read by the kernel, no descriptor here. */
const PASSTHROUGH_HANDLE = 0x8000_0000;
/** In place of a backing id: the inode is open through the page cache. */
const THROUGH_CACHE = -1;
const CACHED_FLAGS = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH;
const HEADER_WORDS = 2;
const MUTEX = 0;
const RING_HEAD = 1;

/** Shared memory for a file system of `slots` inodes: 12 bytes each, of which untouched pages cost nothing. */
export function allocateOpenFileState(slots: number): SharedArrayBuffer {
  return new SharedArrayBuffer((HEADER_WORDS + IDLE_IDS + slots * 3) * 4);
}

export class OpenFiles {
  readonly #fs: Filesystem;
  readonly #registry: BackingRegistry | undefined;
  readonly #header: Int32Array;
  readonly #mutex: SharedMutex;
  /** Slots whose last file was closed, oldest overwritten first; slot + 1, 0 for none. */
  readonly #idle: Int32Array;
  /** Backing id of each slot, 0 for none, or THROUGH_CACHE. */
  readonly #backing: Int32Array;
  /** Open files of each slot. */
  readonly #opens: Int32Array;
  /** Which file the backing file is, `fileIdentity`. */
  readonly #identity: Uint32Array;

  /** @param registry undefined where passthrough cannot be had: every file is read through this process */
  constructor(fs: Filesystem, state: SharedArrayBuffer, registry: BackingRegistry | undefined) {
    this.#fs = fs;
    this.#registry = registry;
    this.#header = new Int32Array(state, 0, HEADER_WORDS);
    this.#mutex = new SharedMutex(this.#header, MUTEX);
    let at = HEADER_WORDS * 4;
    this.#idle = new Int32Array(state, at, IDLE_IDS);
    at += IDLE_IDS * 4;
    this.#backing = new Int32Array(state, at, fs.slots);
    at += fs.slots * 4;
    this.#opens = new Int32Array(state, at, fs.slots);
    at += fs.slots * 4;
    this.#identity = new Uint32Array(state, at, fs.slots);
  }

  open(nodeid: number): Opened | Errno {
    const file = this.#fs.open(nodeid);
    if (isErrno(file)) return file;
    if (this.#registry === undefined) return cached(file);
    const backingId = this.#mutex.hold(() => this.#acquire(file, this.#registry as BackingRegistry));
    if (backingId === THROUGH_CACHE) return cached(file);
    this.#fs.release(nodeid, file.handle);
    if (isErrno(backingId)) return backingId;
    return { low: PASSTHROUGH_HANDLE, high: file.slot, flags: FOPEN_PASSTHROUGH, backingId };
  }

  release(nodeid: number, low: number, high: number): void {
    if (this.#registry !== undefined) this.#mutex.hold(() => this.#relinquish(high, this.#registry as BackingRegistry));
    if (low !== PASSTHROUGH_HANDLE) this.#fs.release(nodeid, low);
  }

  /** Counts one more open of the slot and says how it is read. An Errno is never THROUGH_CACHE: that is EPERM's number, which is not returned. */
  #acquire(file: OpenFile, registry: BackingRegistry): number | Errno {
    const { slot, fd } = file;
    const known = this.#backing[slot] as number;
    const opens = this.#opens[slot] as number;
    if (fd < 0 || (opens > 0 && known === THROUGH_CACHE)) return this.#count(slot, THROUGH_CACHE);
    const identity = fileIdentity(fstatSync(fd));
    if (known > 0) {
      if (this.#identity[slot] === identity) return this.#count(slot, known);
      // the object's file was replaced, or another repository serves it now. While somebody reads the old
      // file the kernel takes no other: this open cannot be given what was just verified
      if (opens > 0) return EIO;
      registry.close(known);
      this.#backing[slot] = 0;
    }
    const id = registry.open(fd);
    // e.g. ELOOP: the file lies on a stacked file system. Such an inode goes through the page cache
    if (isErrno(id)) return this.#count(slot, THROUGH_CACHE);
    this.#identity[slot] = identity;
    return this.#count(slot, id);
  }

  #count(slot: number, backing: number): number {
    this.#backing[slot] = backing;
    this.#opens[slot] = (this.#opens[slot] as number) + 1;
    return backing;
  }

  #relinquish(slot: number, registry: BackingRegistry): void {
    const opens = (this.#opens[slot] as number) - 1;
    this.#opens[slot] = opens;
    if (opens > 0) return;
    if (this.#backing[slot] === THROUGH_CACHE) this.#backing[slot] = 0;
    else this.#keepIdle(slot, registry);
  }

  /** Keeps the id for the next open; the oldest of the kept ones makes room. */
  #keepIdle(slot: number, registry: BackingRegistry): void {
    const at = (this.#header[RING_HEAD] as number) % IDLE_IDS;
    this.#header[RING_HEAD] = (at + 1) % IDLE_IDS;
    const oldest = (this.#idle[at] as number) - 1;
    this.#idle[at] = slot + 1;
    if (oldest < 0 || oldest === slot || (this.#opens[oldest] as number) > 0) return;
    const id = this.#backing[oldest] as number;
    if (id <= 0) return;
    registry.close(id);
    this.#backing[oldest] = 0;
  }
}

const cached = (file: OpenFile): Opened => ({
  low: file.handle,
  high: file.slot,
  flags: CACHED_FLAGS,
  backingId: 0,
});
