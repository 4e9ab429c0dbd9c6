/**
 * Times of changed contents, if the kernel collects writes. It then sets mtime itself: a write changes it in the
 * kernel's inode, and a SETATTR follows. But none does if the time is the present already, as in a file that was made
 * within the same tick of the clock, and the bytes come later. So the time stays as it is when contents change here.
 *
 * Contents change outside the lock, beside each other and beside SETATTR. The time of a file that is being changed is
 * in shared memory until the last of these changes sets it; SETATTR stores a new one there.
 */

import { isErrno } from '../base/errno.ts';
import { setTimesAt, type TimeToSet } from '../system/directory-calls.ts';
import { emptyFileStatus, type FileStatus, statusAt, statusOf } from '../system/file-status.ts';

const EMPTY: Uint8Array = Uint8Array.of();
/** Two words of the inode number, three of the time. */
const WORDS = 5;
/** At most one change for each thread. */
const PLACES = 64;
const TWO_TO_32 = 0x1_0000_0000;

/** Words of memory for a KeptTimes, all 0. */
export const KEPT_TIMES_WORDS: number = 1 + PLACES * WORDS;

/** One instance a thread, over the same memory. All methods are called under the lock of the layer. */
export class KeptTimes {
  readonly #words: Int32Array;
  readonly #status: FileStatus = emptyFileStatus();

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /**
   * The content of a file is about to change.
   * @param fd open file of the inode
   * @returns for `end`; undefined if its time is not known
   */
  begin(ino: number, fd: number): number | undefined {
    const words = this.#words;
    const known = words[0] === 0 ? undefined : this.#placeOf(ino);
    if (known === undefined && isErrno(statusOf(fd, this.#status))) return undefined;
    const place = this.#placeOf(0) as number;
    words[place] = ino | 0;
    words[place + 1] = Math.floor(ino / TWO_TO_32);
    if (known === undefined) this.#store(place);
    else words.copyWithin(place + 2, known + 2, known + WORDS);
    words[0] = (words[0] as number) + 1;
    return place;
  }

  /** Sets the time again, as far as that is possible. */
  end(place: number, fd: number): void {
    const words = this.#words;
    const time: TimeToSet = {
      low: words[place + 2] as number,
      high: words[place + 3] as number,
      nsec: words[place + 4] as number,
    };
    setTimesAt(fd, EMPTY, undefined, time);
    words[place] = 0;
    words[place + 1] = 0;
    words[0] = (words[0] as number) - 1;
  }

  /** The time of a file was set: changes of its content that are under way keep that one. */
  changed(ino: number, dir: number, name: Uint8Array): void {
    if (this.#words[0] === 0 || this.#placeOf(ino) === undefined || isErrno(statusAt(dir, name, this.#status))) return;
    for (let place = this.#placeOf(ino); place !== undefined; place = this.#placeOf(ino, place + WORDS)) {
      this.#store(place);
    }
  }

  #store(place: number): void {
    const { mtimeLow, mtimeHigh, mtimeNsec } = this.#status;
    this.#words[place + 2] = mtimeLow;
    this.#words[place + 3] = mtimeHigh;
    this.#words[place + 4] = mtimeNsec;
  }

  /** The first place from `from` on that has this inode; 0 is a free one. */
  #placeOf(ino: number, from = 1): number | undefined {
    const [low, high] = [ino | 0, Math.floor(ino / TWO_TO_32)];
    for (let at = from; at < this.#words.length; at += WORDS) {
      if (this.#words[at] === low && this.#words[at + 1] === high) return at;
    }
    return undefined;
  }
}
