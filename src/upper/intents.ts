/**
 * Notes of the change that each thread is about to make, in memory that survives the server. The kernel sends
 * unanswered requests to the next server once more, marked as resent. Each of them may have been carried out. If there
 * is a note that the last server had begun it, a name that it would have made, for example, counts as its own result;
 * without a note, the name is an error, EEXIST.
 *
 * A slot belongs to one thread, which stores a request in it before the first system call that changes something. It
 * stays until the thread's next one. By then the first has been answered, so it is not sent again.
 *
 * Why a note is right or not there. The first word of a slot is a number: odd while the thread stores the others, and a
 * new even one when it has done so. A server that dies in between leaves it odd, and the slot is not used: the new
 * request has changed nothing, the old one was answered. A thread that reads another one's slot compares the number
 * before and after. All accesses are atomic, hence in one order.
 *
 * Why a note is not lost. The threads of the next server use the same slots, perhaps before a request of the last one
 * is sent again. So the next server copies the slots first, in `takeOver`, to a ring of notes that only takeovers
 * store to. A copy is made before a thread can replace its slot. A server that dies in the middle leaves a ring with
 * some of the copies, and all slots: the next takeover makes the missing copies. The ring's position moves on before
 * its note is stored, so that this never replaces a copy just made. It holds the slots of six servers: a note could be
 * lost only if a request were left unanswered by seven servers one after another.
 *
 * Numbers of requests begin anew with each mount, so a mount that continues no other one begins with `create`.
 */

/** Threads of a server, at most. */
const SLOTS = 64;
/** Copies of slots of servers before this one. */
const RING = 6 * SLOTS;
const WORDS = 8;
/** Before the slots: the position of the ring. */
const POSITION = 0;
const HEADER = WORDS;
const ENTRIES = SLOTS + RING;

/** Words of a slot; the last one is free. */
const NUMBER = 0;
const UNIQUE_LOW = 1;
const UNIQUE_HIGH = 2;
const A_LOW = 3;
const A_HIGH = 4;
const B_LOW = 5;
const B_HIGH = 6;

/** Bytes of memory for intents; the memory is 0 at first. */
export const INTENTS_BYTES: number = (HEADER + ENTRIES * WORDS) * 4;

/** Bit 63 of a request's number means that it is sent once more. */
const WITHOUT_RESENT = 0x7fff_ffff;
const TWO_TO_32 = 0x1_0000_0000;

/**
 * The data of a request that is about to be carried out: two numbers that the caller chose, integers from 0 to 2^53 -
 * 1.
 */
export interface Intent {
  readonly a: number;
  readonly b: number;
}

interface Entry extends Intent {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
}

export class Intents {
  readonly #words: Int32Array;

  /**
   * For each thread of a server, when `create` or `takeOver` has been called once.
   * @param offset where INTENTS_BYTES begin, in bytes: a multiple of 4
   */
  constructor(memory: ArrayBufferLike, offset: number) {
    this.#words = new Int32Array(memory, offset, HEADER + ENTRIES * WORDS);
  }

  /** For the first server of a mount, before its threads begin: forgets all. */
  static create(memory: ArrayBufferLike, offset: number): Intents {
    const intents = new Intents(memory, offset);
    intents.#words.fill(0);
    return intents;
  }

  /** For a server that continues a mount, before its threads begin: keeps what the last server's threads had begun. */
  static takeOver(memory: ArrayBufferLike, offset: number): Intents {
    const intents = new Intents(memory, offset);
    for (let slot = 0; slot < SLOTS; slot++) {
      const entry = intents.#read(HEADER + slot * WORDS);
      if (entry !== undefined) intents.#keep(entry);
    }
    return intents;
  }

  /**
   * Thread `thread` begins with this request: before the first system call that changes something. Called again for the
   * same request it replaces `a` and `b`.
   */
  begin(thread: number, uniqueLow: number, uniqueHigh: number, a = 0, b = 0): void {
    if (!(thread >= 0 && thread < SLOTS)) throw new RangeError(`thread ${thread}: there are ${SLOTS} at most`);
    this.#write(HEADER + thread * WORDS, { uniqueLow, uniqueHigh, a, b });
  }

  /** The numbers with which this request had begun, in this server or one before it; undefined if it had not begun. */
  find(uniqueLow: number, uniqueHigh: number): Intent | undefined {
    const low = uniqueLow >>> 0;
    const high = uniqueHigh & WITHOUT_RESENT;
    let found: Intent | undefined;
    // the ring first: the state that a server found before it began again says more than that of the next one
    for (let i = 0; i < ENTRIES; i++) {
      const entry = this.#read(HEADER + ((i + SLOTS) % ENTRIES) * WORDS);
      if (entry?.uniqueLow !== low || entry.uniqueHigh !== high) continue;
      if (found === undefined || (found.a === 0 && found.b === 0)) found = { a: entry.a, b: entry.b };
    }
    return found;
  }

  /** Copies an entry to the ring, unless it is there. */
  #keep(entry: Entry): void {
    const words = this.#words;
    for (let i = 0; i < RING; i++) {
      const at = HEADER + (SLOTS + i) * WORDS;
      const kept = this.#read(at);
      if (kept?.uniqueLow !== entry.uniqueLow || kept.uniqueHigh !== entry.uniqueHigh) continue;
      if (kept.a === 0 && kept.b === 0 && (entry.a !== 0 || entry.b !== 0)) this.#write(at, entry);
      return;
    }
    const position = (Atomics.load(words, POSITION) >>> 0) % RING;
    Atomics.store(words, POSITION, (position + 1) % RING);
    this.#write(HEADER + (SLOTS + position) * WORDS, entry);
  }

  #write(at: number, { uniqueLow, uniqueHigh, a, b }: Entry): void {
    const words = this.#words;
    const number = Atomics.load(words, at + NUMBER) | 1;
    Atomics.store(words, at + NUMBER, number);
    Atomics.store(words, at + UNIQUE_LOW, uniqueLow | 0);
    Atomics.store(words, at + UNIQUE_HIGH, uniqueHigh & WITHOUT_RESENT);
    Atomics.store(words, at + A_LOW, a | 0);
    Atomics.store(words, at + A_HIGH, Math.floor(a / TWO_TO_32));
    Atomics.store(words, at + B_LOW, b | 0);
    Atomics.store(words, at + B_HIGH, Math.floor(b / TWO_TO_32));
    // 0 means that the slot was never used
    Atomics.store(words, at + NUMBER, number === -1 ? 2 : number + 1);
  }

  #read(at: number): Entry | undefined {
    const words = this.#words;
    const number = Atomics.load(words, at + NUMBER);
    if (number === 0 || (number & 1) === 1) return undefined;
    const uniqueLow = Atomics.load(words, at + UNIQUE_LOW) >>> 0;
    const uniqueHigh = Atomics.load(words, at + UNIQUE_HIGH) & WITHOUT_RESENT;
    const a = longOf(Atomics.load(words, at + A_LOW), Atomics.load(words, at + A_HIGH));
    const b = longOf(Atomics.load(words, at + B_LOW), Atomics.load(words, at + B_HIGH));
    return Atomics.load(words, at + NUMBER) === number ? { uniqueLow, uniqueHigh, a, b } : undefined;
  }
}

const longOf = (low: number, high: number): number => (high >>> 0) * TWO_TO_32 + (low >>> 0);
