/** Batches of verified contents, one after the other, read ahead by threads; by the caller itself if there are few. */
import { Worker } from 'node:worker_threads';
import { CfsError } from '../base/error.ts';
import { programPath } from '../base/installation.ts';
import { startThreads, threadError } from '../base/threads.ts';
import { LocalRepository, type Meta } from '../store/local-repository.ts';
import type { StoreDirectory } from '../store/store-directory.ts';
import { type PieceFailure, PieceReader, type PieceSettings, SLOTS, slotOf, stopReading } from './read-pieces.ts';

/** The startup data of a thread. */
export interface PieceWorkerData {
  readonly settings: PieceSettings;
  /** Their directories are open in the whole process. */
  readonly repositories: readonly { readonly path: string; readonly meta: Meta; readonly directory: number }[];
}

export type PieceMessage =
  | { readonly type: 'failed'; readonly failure: PieceFailure }
  | { readonly type: 'warning'; readonly line: string };

/** With fewer batches threads are not worth starting. */
const FEW_BATCHES = 4;

/** Call `close` at the end. */
export class PieceStream {
  readonly #settings: PieceSettings;
  readonly #own: PieceReader | undefined;
  readonly #ends: readonly Promise<void>[];
  readonly #directories: StoreDirectory[] = [];
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #batch = 0;

  /**
   * @param threads 0 reads everything in the calling thread
   * @param warn receives a line if a bad copy of an object was passed over
   */
  constructor(
    settings: PieceSettings,
    repositories: readonly LocalRepository[],
    threads: number,
    warn: (line: string) => void,
  ) {
    this.#settings = settings;
    for (const repository of repositories) this.#directories.push(repository.enter());
    const given = repositories.map(({ path, hash, uuid }, i) => ({
      path,
      meta: { hash, uuid },
      directory: (this.#directories[i] as StoreDirectory).fd,
    }));
    if (threads === 0 || settings.plan.first.length <= FEW_BATCHES) {
      const own = given.map(({ path, meta, directory }) => new LocalRepository(path, meta, directory));
      this.#own = new PieceReader(settings, own, warn);
      this.#ends = [];
    } else {
      const workerData: PieceWorkerData = { settings, repositories: given };
      this.#ends = startThreads(Math.min(threads, SLOTS / 2), () => this.#start(workerData, warn));
    }
  }

  /**
   * The next batch: its pieces one after the other. Valid until `release`.
   * @throws CfsError (store) if no repository has a good copy of a piece
   */
  async next(): Promise<Uint8Array> {
    const batch = this.#batch;
    if (this.#own !== undefined) {
      this.#own.fill(batch);
      return slotOf(this.#settings, batch);
    }
    const { words } = this.#settings;
    const slot = batch % SLOTS;
    for (let word = Atomics.load(words, slot); word !== ~batch; word = Atomics.load(words, slot)) {
      if (this.#failure !== undefined) throw this.#failure;
      const failed = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await Promise.race([waitWhile(words, slot, word), failed]);
    }
    return slotOf(this.#settings, batch);
  }

  /** Gives the memory of the last batch back. */
  release(): void {
    const { words } = this.#settings;
    const slot = this.#batch % SLOTS;
    Atomics.store(words, slot, this.#batch + SLOTS);
    Atomics.notify(words, slot);
    this.#batch++;
  }

  /** Ends the threads, and waits for that. */
  async close(): Promise<void> {
    stopReading(this.#settings);
    await Promise.all(this.#ends);
    this.#own?.close();
    for (const directory of this.#directories) directory.close();
  }

  #start(workerData: PieceWorkerData, warn: (line: string) => void): Promise<void> {
    const worker = new Worker(programPath('cfs-read-worker.js'), { workerData, trackUnmanagedFds: false });
    worker.on('message', (message: PieceMessage) => {
      if (message.type === 'warning') warn(message.line);
      else this.#fail(errorOf(message.failure));
    });
    worker.on('error', (error) => this.#fail(threadError(error)));
    return new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }
}

/** A type that the library of ES2022 does not have yet. */
type WaitAsync = (
  words: Int32Array,
  index: number,
  value: number,
) => { readonly async: boolean; readonly value: string | Promise<string> };

/** Until the word differs. */
const waitWhile = async (words: Int32Array, index: number, value: number): Promise<unknown> =>
  (Atomics as unknown as { readonly waitAsync: WaitAsync }).waitAsync(words, index, value).value;

const errorOf = ({ kind, message, hint }: PieceFailure): CfsError => new CfsError(kind, message, { hint });
