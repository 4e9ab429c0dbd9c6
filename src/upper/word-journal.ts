/**
 * Changes of several words of shared memory that happen together or not at all, although the process may be killed
 * between any two stores.
 *
 * The new values are noted first, with the words that they are for. Storing their number in the state word decides:
 * from then on the change has happened. Then they are stored in place, and the state becomes 0 again.
 *
 * Why a change is whole. A process that dies before the decision has changed only the notes and memory that nothing
 * refers to. One that dies after it leaves a state that says how many notes there are, all of them complete, because
 * they were stored before. `recover` stores them once more. They are values and not differences, so it does not matter
 * which of them were stored already, nor whether `recover` is interrupted itself. The next change begins only with a
 * state of 0, so it does not overwrite notes that are still needed.
 *
 * What it rests on. A process that is killed has made its stores up to one, in the order of its instructions, and
 * shared memory keeps them. The state is stored by Atomics, which no compiler moves other stores across. Nothing here
 * helps against a power failure, which keeps any of the pages and not others: see `isClean` of IdentityTable.
 */

/** Notes for one change: the longest, setUpper, takes 10. */
const MOST_NOTES = 24;
/** Words that a journal takes. */
export const JOURNAL_WORDS: number = 1 + 2 * MOST_NOTES;

/** Nothing is in progress. */
const IDLE = 0;
/** Notes are being taken. Greater values: one more than the number of notes, all of them taken. */
const NOTING = 1;

export class WordJournal {
  readonly #words: Int32Array;
  readonly #stateAt: number;
  readonly #notesAt: number;
  #count = 0;

  /** @param at the first of its words, which are 0 at first */
  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#stateAt = at;
    this.#notesAt = at + 1;
  }

  /** Begins a change. Throws if another thread is in the middle of one: callers take turns. */
  begin(): void {
    if (Atomics.compareExchange(this.#words, this.#stateAt, IDLE, NOTING) !== IDLE) {
      throw new Error('the table of identities is being changed by another thread');
    }
    this.#count = 0;
  }

  /** Word `index` gets `value` at `commit`. */
  put(index: number, value: number): void {
    if (this.#count === MOST_NOTES) throw new Error('a change of the table of identities is too long');
    const at = this.#notesAt + 2 * this.#count++;
    this.#words[at] = index;
    this.#words[at + 1] = value;
  }

  /** The value of a word as `commit` will leave it. */
  get(index: number): number {
    const words = this.#words;
    for (let at = this.#notesAt + 2 * (this.#count - 1); at >= this.#notesAt; at -= 2) {
      if (words[at] === index) return words[at + 1] as number;
    }
    return words[index] as number;
  }

  commit(): void {
    Atomics.store(this.#words, this.#stateAt, NOTING + this.#count);
    this.#carryOut(this.#count);
    this.#count = 0;
  }

  /**
   * For the first that opens the memory, while no other thread uses it: finishes the change that a process died in.
   * @param isChangeable whether a note for this word can have been made
   * @returns false if the notes cannot be right; then nothing has changed
   */
  recover(isChangeable: (index: number) => boolean): boolean {
    const count = Math.max(Atomics.load(this.#words, this.#stateAt) - NOTING, 0);
    if (count > MOST_NOTES || Atomics.load(this.#words, this.#stateAt) < IDLE) return false;
    for (let i = 0; i < count; i++) if (!isChangeable(this.#words[this.#notesAt + 2 * i] as number)) return false;
    this.#carryOut(count);
    return true;
  }

  #carryOut(count: number): void {
    const words = this.#words;
    for (let at = this.#notesAt, left = count; left > 0; at += 2, left--) {
      words[words[at] as number] = words[at + 1] as number;
    }
    Atomics.store(words, this.#stateAt, IDLE);
  }
}
