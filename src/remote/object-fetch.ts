/**
 * Fetches objects of an image from the servers of a remote repository. Every object is verified before it is stored.
 */
import { setImmediate } from 'node:timers/promises';
import { equalBytes, toHex } from '../base/bytes.ts';
import { type ContentDigest, DIGEST_SIZE, digestContent, type HashAlgorithm } from '../base/digest.ts';
import { type FetchTask, LARGE, REQUEST_BYTES, requestsOf } from './fetch-plan.ts';
import { FrameReader } from './frame-reader.ts';
import type { HttpClient } from './http-client.ts';
import { FRAME_BYTES, framesOf, type ObjectMap } from './map-format.ts';
import { type MirrorObserver, Mirrors, type Unavailable, UnavailableError } from './mirrors.ts';
import { objectFile, packName } from './tree-names.ts';

/** The objects of an image, by row. */
export interface ImageObjects {
  readonly hash: HashAlgorithm;
  /** 32 bytes each. */
  readonly digests: Uint8Array;
  /** Bytes. */
  readonly sizes: Float64Array;
  /** Undefined: every object is a file of its own. */
  readonly map: ObjectMap | undefined;
}

/** An object that is stored piece by piece; `discard` is called unless `finish` returned true. */
export interface PieceSink {
  write(bytes: Uint8Array): void;
  /** Stores the object. @returns false if its content has another digest */
  finish(expected: Uint8Array): boolean;
  discard(): void;
}

/** Where objects are stored: an `ObjectWriter`. */
export interface ObjectTarget {
  putBytes(content: Uint8Array, digest: ContentDigest): unknown;
  begin(): PieceSink;
}

/** An object that no server gave. */
export interface FetchFailure {
  readonly row: number;
  readonly problem: string;
  readonly kind: Unavailable;
}

export interface ObjectFetchOptions {
  /**
   * Called for each object when it is stored.
   * @param server position of the URL that gave it, or the last part of it
   */
  readonly onStored?: ((row: number, server: number) => void) | undefined;
  readonly observer?: MirrorObserver | undefined;
}

/** Bytes, and the position of the URL that gave them. */
interface Piece {
  readonly bytes: Uint8Array;
  readonly server: number;
}
/** Objects, and bytes of them, that are stored before other work of the thread. */
const AT_ONCE = 32;
const BYTES_AT_ONCE = 1 << 18;

const CORRUPTED = 'its content is corrupted';
const DAMAGED = 'a frame is damaged';

const failureOf = (row: number, { message, kind }: UnavailableError): FetchFailure => ({
  row,
  problem: message,
  kind,
});

export class ObjectFetch {
  readonly #mirrors: Mirrors;
  /** Each server alone, if there are several. */
  readonly #single: readonly Mirrors[];
  readonly #objects: ImageObjects;
  readonly #target: ObjectTarget;
  readonly #onStored: (row: number, server: number) => void;
  /** For an object of several frames; nothing waits while it is in use. */
  readonly #whole = new Uint8Array(LARGE);

  constructor(
    client: HttpClient,
    urls: readonly URL[],
    objects: ImageObjects,
    target: ObjectTarget,
    { onStored = () => undefined, observer }: ObjectFetchOptions = {},
  ) {
    this.#mirrors = new Mirrors(client, urls, observer);
    this.#single = urls.length > 1 ? urls.map((url, i) => new Mirrors(client, [url], observer, i)) : [];
    this.#objects = objects;
    this.#target = target;
    this.#onStored = onStored;
  }

  /**
   * Fetches and stores the objects of a task.
   * @returns those that no server gave
   * @throws errors of the target; the reason of the signal
   */
  async run(task: FetchTask, signal?: AbortSignal): Promise<readonly FetchFailure[]> {
    if (task.kind === 'part') return await this.#fetchPart(this.#objects.map as ObjectMap, task, signal);
    const [row] = task.rows as [number];
    const failure = task.kind === 'alone' ? await this.#fetchAlone(row, signal) : await this.#fetchLarge(row, signal);
    return failure === undefined ? [] : [failure];
  }

  #sizeOf(row: number): number {
    return this.#objects.sizes[row] as number;
  }

  #digestOf(row: number): Uint8Array {
    return this.#objects.digests.subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE);
  }

  async #fetchPart(map: ObjectMap, task: FetchTask, signal: AbortSignal | undefined): Promise<FetchFailure[]> {
    const { pack, from, length, rows } = task;
    const { digest } = map.packs[pack] as ObjectMap['packs'][number];
    const stored = new Set<number>();
    const check = (bytes: Buffer, server: number): Promise<string | undefined> =>
      this.#storePart(map, task, { bytes, server }, stored, signal);
    try {
      await this.#mirrors.fetch(packName(digest), { range: { from, length }, most: length, signal, check });
      return [];
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      return rows.filter((row) => !stored.has(row)).map((row) => failureOf(row, error));
    }
  }

  /**
   * Stores the objects in a part of a pack that are not there yet. Other work of the thread goes on in between.
   * @param stored objects of the task that are there
   * @returns what is wrong with some of them
   */
  async #storePart(
    map: ObjectMap,
    { from, rows }: FetchTask,
    { bytes, server }: Piece,
    stored: Set<number>,
    signal: AbortSignal | undefined,
  ): Promise<string | undefined> {
    const reader = new FrameReader(map, bytes, from);
    let first: string | undefined;
    let [objects, storedBytes] = [0, 0];
    for (const row of rows) {
      if (stored.has(row)) continue;
      if (objects === AT_ONCE || storedBytes > BYTES_AT_ONCE) {
        await setImmediate();
        signal?.throwIfAborted();
        [objects, storedBytes] = [0, 0];
      }
      objects++;
      storedBytes += this.#sizeOf(row);
      const content = this.#contentOf(map, reader, row);
      const problem = content === undefined ? DAMAGED : this.#store(row, content, server);
      if (problem === undefined) stored.add(row);
      else first ??= `object ${toHex(this.#digestOf(row))}: ${problem}`;
    }
    return first;
  }

  #store(row: number, content: Uint8Array, server: number): string | undefined {
    const digest = digestContent(this.#objects.hash, content);
    if (!equalBytes(digest.digest, this.#digestOf(row))) return CORRUPTED;
    this.#target.putBytes(content, digest);
    this.#onStored(row, server);
    return undefined;
  }

  #contentOf({ frameOf, offsetOf }: ObjectMap, reader: FrameReader, row: number): Uint8Array | undefined {
    const [frame, offset, size] = [frameOf[row] as number, offsetOf[row] as number, this.#sizeOf(row)];
    if (framesOf(size) === 1) return reader.read(frame)?.subarray(offset, offset + size);
    for (let at = 0, i = frame; at < size; at += FRAME_BYTES, i++) {
      const content = reader.read(i);
      if (content === undefined) return undefined;
      this.#whole.set(content.subarray(0, size - at), at);
    }
    return this.#whole.subarray(0, size);
  }

  async #fetchAlone(row: number, signal: AbortSignal | undefined): Promise<FetchFailure | undefined> {
    const size = this.#sizeOf(row);
    if (size > REQUEST_BYTES) return await this.#fetchInPieces(row, (from) => this.#piecesOfFile(row, from, signal));
    const check = (bytes: Buffer, server: number): string | undefined => this.#store(row, bytes, server);
    try {
      await this.#mirrors.fetch(objectFile(this.#digestOf(row)), { most: size, signal, check });
      return undefined;
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      return failureOf(row, error);
    }
  }

  async #fetchLarge(row: number, signal: AbortSignal | undefined): Promise<FetchFailure | undefined> {
    const map = this.#objects.map as ObjectMap;
    return await this.#fetchInPieces(row, (from) => this.#piecesOfLarge(map, row, from, signal));
  }

  /** An object whose content comes in pieces, each of which may be from another server. */
  async #fetchInPieces(
    row: number,
    pieces: (from: Mirrors) => AsyncGenerator<Piece>,
  ): Promise<FetchFailure | undefined> {
    let failure: FetchFailure = { row, problem: CORRUPTED, kind: 'wrong' };
    // if servers give pieces that do not fit, the whole comes from one of them
    for (const from of [this.#mirrors, ...this.#single]) {
      const sink = this.#target.begin();
      let isStored = false;
      let last = 0;
      try {
        for await (const { bytes, server } of pieces(from)) {
          sink.write(bytes);
          last = server;
        }
        isStored = sink.finish(this.#digestOf(row));
        if (isStored) {
          this.#onStored(row, last);
          return undefined;
        }
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error;
        failure = failureOf(row, error);
        if (from === this.#mirrors) break;
      } finally {
        if (!isStored) sink.discard();
      }
    }
    return failure;
  }

  async *#piecesOfLarge(
    map: ObjectMap,
    row: number,
    from: Mirrors,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Piece> {
    let left = this.#sizeOf(row);
    for (const { first, last, ...range } of requestsOf(map, map.frameOf[row] as number, left)) {
      const { digest } = map.packs[map.frames.pack[first] as number] as ObjectMap['packs'][number];
      const { bytes, server } = await from.fetch(packName(digest), { range, most: range.length, signal });
      const reader = new FrameReader(map, bytes, range.from);
      for (let frame = first; frame <= last; frame++) {
        const content = reader.read(frame);
        if (content === undefined) throw new UnavailableError(DAMAGED, 'wrong');
        const piece = content.subarray(0, left);
        left -= piece.length;
        yield { bytes: piece, server };
        // readers' requests go on
        if (((frame - first) * FRAME_BYTES) % BYTES_AT_ONCE === 0) await setImmediate();
        signal?.throwIfAborted();
      }
    }
  }

  async *#piecesOfFile(row: number, mirrors: Mirrors, signal: AbortSignal | undefined): AsyncGenerator<Piece> {
    const size = this.#sizeOf(row);
    const name = objectFile(this.#digestOf(row));
    for (let from = 0; from < size; from += REQUEST_BYTES) {
      const length = Math.min(REQUEST_BYTES, size - from);
      yield await mirrors.fetch(name, { range: { from, length }, most: length, signal });
    }
  }
}
