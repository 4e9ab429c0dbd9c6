/**
 * Reads and verifies batches of pieces into slots of shared memory. A batch belongs to the thread that takes its
 * number; it goes to slot number % SLOTS as soon as the batch before it there was used. So threads are ahead of the
 * user of the batches by at most SLOTS of them, and each waits only for a batch with a lower number than its own.
 */
import { printable } from '../base/bytes.ts';
import { CfsError, type ErrorKind } from '../base/error.ts';
import { pathOfRow } from '../manifest/lookup.ts';
import { attachTables, type ManifestTables, type SharedTables } from '../manifest/tables.ts';
import type { Repository } from '../objects/repository.ts';
import { ImageContents } from './image-contents.ts';
import { BATCH_BYTES, type PiecePlan } from './piece-plan.ts';

export const SLOTS = 8;

/** What the threads share. Plain data. */
export interface PieceSettings {
  readonly tables: SharedTables;
  readonly plan: PiecePlan;
  readonly image: string;
  /** SLOTS times BATCH_BYTES. */
  readonly memory: Uint8Array;
  /**
   * Of each slot: the number of the batch that may be put into it, or its complement (negative) once it is there; then
   * the next batch to take, and 1 to request a stop.
   */
  readonly words: Int32Array;
}

export const NEXT: number = SLOTS;
export const STOP: number = SLOTS + 1;

export interface PieceFailure {
  readonly kind: ErrorKind;
  readonly message: string;
  readonly hint?: string | undefined;
}

/** Settings for a plan. */
export function pieceSettings(tables: SharedTables, plan: PiecePlan, image: string): PieceSettings {
  const words = new Int32Array(new SharedArrayBuffer(4 * (SLOTS + 2)));
  for (let slot = 0; slot < SLOTS; slot++) words[slot] = slot;
  const memory = new Uint8Array(new SharedArrayBuffer(SLOTS * BATCH_BYTES));
  return { tables, plan, image, memory, words };
}

/** The memory of a batch. */
export const slotOf = ({ memory }: PieceSettings, batch: number): Uint8Array =>
  memory.subarray((batch % SLOTS) * BATCH_BYTES, (batch % SLOTS) * BATCH_BYTES + BATCH_BYTES);

/** One per thread. */
export class PieceReader {
  readonly #settings: PieceSettings;
  readonly #tables: ManifestTables;
  readonly #contents: ImageContents;

  /** @param warn receives a line if a bad copy of an object was passed over */
  constructor(settings: PieceSettings, repositories: readonly Repository[], warn: (line: string) => void) {
    this.#settings = settings;
    this.#tables = attachTables(settings.tables);
    this.#contents = new ImageContents(this.#tables, settings.image, repositories, { warn });
  }

  /** Reads all pieces of a batch into its slot. @throws CfsError (store) */
  fill(batch: number): void {
    const { pieces, first } = this.#settings.plan;
    const slot = slotOf(this.#settings, batch);
    let at = 0;
    for (let piece = first[batch] as number; piece < (first[batch + 1] as number); piece++) {
      const [row, offset, length] = pieces.subarray(piece * 3, piece * 3 + 3) as unknown as [number, number, number];
      this.#contents.read(row, offset, slot.subarray(at, at + length), () => printable(pathOfRow(this.#tables, row)));
      at += length;
    }
  }

  close(): void {
    this.#contents.close();
  }
}

/** The work of a thread: until all batches are taken, a stop is requested, or one fails. */
export function readBatches(
  settings: PieceSettings,
  reader: PieceReader,
  failed: (failure: PieceFailure) => void,
): void {
  const { words, plan } = settings;
  const batches = plan.first.length - 1;
  for (let batch = Atomics.add(words, NEXT, 1); batch < batches; batch = Atomics.add(words, NEXT, 1)) {
    const slot = batch % SLOTS;
    for (let word = Atomics.load(words, slot); word !== batch; word = Atomics.load(words, slot)) {
      if (Atomics.load(words, STOP) !== 0) return;
      Atomics.wait(words, slot, word);
    }
    if (Atomics.load(words, STOP) !== 0) return;
    try {
      reader.fill(batch);
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      const { kind, message, hint } = error;
      failed({ kind, message, hint });
      return;
    }
    Atomics.store(words, slot, ~batch);
    Atomics.notify(words, slot);
  }
}

/** Makes all threads end. */
export function stopReading({ words }: PieceSettings): void {
  Atomics.store(words, STOP, 1);
  for (let slot = 0; slot < SLOTS; slot++) {
    // a waiting thread looks again only if the word differs
    Atomics.store(words, slot, STOPPED);
    Atomics.notify(words, slot);
  }
}
/** No batch has this number. */
const STOPPED = 0x7fffffff;
