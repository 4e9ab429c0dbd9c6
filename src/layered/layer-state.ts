/**
 * The state of a writable layer that the threads of one server share, beside the table of identities: its lock, the
 * inodes whose content is being copied up, and times of files that are being changed.
 *
 * Copying up may take long, so the lock is free in the meantime. Instead the inode is marked as busy: a thread that has
 * to copy it up, rename or remove it waits. Lookups, attributes and reads see the image until the copy is complete. A
 * mark is set and removed under the lock. A server that is killed takes the marks with it: they are not in the table.
 */
import { SharedMutex } from '../system/shared-mutex.ts';
import { KEPT_TIMES_WORDS, KeptTimes } from './kept-times.ts';

const MUTEX = 0;
/** Counts the ends of copies; threads wait for it to change. */
const COPIES_ENDED = 1;
/** The last number of a temporary file. */
const TEMPORARY = 2;
/** Counts inodes that were deleted: threads close their descriptors of them. */
const DELETED = 3;
/** Copies that are being made. */
const COPIES = 5;
/** 1 if the table has every file of the upper layer. */
const COMPLETE = 4;
/** Files that are being opened: their opens are not counted yet. */
const OPENING = 6;
const BUSY = 8;
/** At most one for each thread. */
const PLACES = 64;
const KEPT_TIMES: number = BUSY + PLACES * 2;
const TWO_TO_32 = 0x1_0000_0000;

/** Memory for a LayerState. */
export const allocateLayerState = (): SharedArrayBuffer => new SharedArrayBuffer((KEPT_TIMES + KEPT_TIMES_WORDS) * 4);

/** One instance a thread, over the same memory. */
export class LayerState {
  readonly times: KeptTimes;
  readonly #words: Int32Array;
  readonly #mutex: SharedMutex;
  #isHeld = false;
  #releases = 0;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.times = new KeptTimes(this.#words.subarray(KEPT_TIMES));
    this.#mutex = new SharedMutex(this.#words, MUTEX);
  }

  /** Runs `section` under the lock of the layer; at once if this thread holds it. */
  hold<T>(section: () => T): T {
    if (this.#isHeld) return section();
    this.#lock();
    try {
      return section();
    } finally {
      this.#unlock();
    }
  }

  /**
   * Under the lock: runs `work` without it, while `ino` is busy. Anything but this inode may have changed afterwards.
   */
  copying<T>(ino: number, work: () => T): T {
    const place = this.#freePlace();
    this.#words[place] = ino | 0;
    this.#words[place + 1] = Math.floor(ino / TWO_TO_32);
    Atomics.add(this.#words, COPIES, 1);
    this.#unlock();
    try {
      return work();
    } finally {
      this.#lock();
      this.#words[place] = 0;
      this.#words[place + 1] = 0;
      Atomics.sub(this.#words, COPIES, 1);
      Atomics.add(this.#words, COPIES_ENDED, 1);
      Atomics.notify(this.#words, COPIES_ENDED);
    }
  }

  /** Under the lock: whether the content of an inode is being copied; 0 is none. */
  isBusy(ino: number): boolean {
    if (ino === 0 || this.#words[COPIES] === 0) return false;
    const [low, high] = [ino | 0, Math.floor(ino / TWO_TO_32)];
    for (let at = BUSY; at < KEPT_TIMES; at += 2) {
      if (this.#words[at] === low && this.#words[at + 1] === high) return true;
    }
    return false;
  }

  /**
   * Under the lock: waits while `ino` is busy; 0 is none. @returns whether it had to: anything may have changed
   * meanwhile
   */
  waitWhileBusy(ino: number): boolean {
    let waited = false;
    while (this.isBusy(ino)) {
      waited = true;
      const ended = Atomics.load(this.#words, COPIES_ENDED);
      this.#unlock();
      Atomics.wait(this.#words, COPIES_ENDED, ended);
      this.#lock();
    }
    return waited;
  }

  /**
   * Changes whenever this thread lets others have the lock within a section: what it found before may be out of date.
   */
  get releases(): number {
    return this.#releases;
  }

  /** A number that no other temporary file of this server has. */
  nextTemporary(): number {
    return Atomics.add(this.#words, TEMPORARY, 1) >>> 0;
  }

  /** Changes with each inode that is deleted. */
  get deletions(): number {
    return Atomics.load(this.#words, DELETED);
  }

  countDeletion(): void {
    Atomics.add(this.#words, DELETED, 1);
  }

  /** A file is about to be opened (1), or its open was counted or failed (-1). Any thread may call it. */
  addOpening(change: 1 | -1): void {
    Atomics.add(this.#words, OPENING, change);
  }

  get isOpening(): boolean {
    return Atomics.load(this.#words, OPENING) > 0;
  }

  get isComplete(): boolean {
    return Atomics.load(this.#words, COMPLETE) === 1;
  }

  setComplete(isComplete: boolean): void {
    Atomics.store(this.#words, COMPLETE, isComplete ? 1 : 0);
  }

  #lock(): void {
    this.#mutex.lock();
    this.#isHeld = true;
  }

  #unlock(): void {
    this.#isHeld = false;
    this.#releases++;
    this.#mutex.unlock();
  }

  #freePlace(): number {
    for (let at = BUSY; at < KEPT_TIMES; at += 2) if (this.#words[at] === 0 && this.#words[at + 1] === 0) return at;
    throw new Error('more copies than threads');
  }
}
