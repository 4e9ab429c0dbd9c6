/** A thread that fetches objects from a remote repository. Started by pull-objects.ts. */
import '../system/exact-paths.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { equalBytes, toHex } from '../base/bytes.ts';
import { DIGEST_SIZE, digestContent } from '../base/digest.ts';
import { HttpClient } from '../remote/http-client.ts';
import { FRAME_BYTES, framesOf, type ObjectMap } from '../remote/map-format.ts';
import { Mirrors, UnavailableError } from '../remote/mirrors.ts';
import { objectFile, packName } from '../remote/tree-names.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { decompressFrame } from '../system/zstd.ts';
import { COUNTS, type CopyMessage, countObject, failedMessage } from './copy-threads.ts';
import type { PullSettings } from './pull-objects.ts';
import { LARGE, type PullTask, REQUEST_BYTES, requestsOf } from './pull-plan.ts';

const settings = workerData as PullSettings;
const { turn, sizes, digests, thread, map, tasks } = settings;
const counts = settings.counts.subarray(thread * COUNTS, (thread + 1) * COUNTS);
const post = (message: CopyMessage): void => parentPort?.postMessage(message);

/** Ends what is under way, for a stop or after an error. */
const ending = new AbortController();
const { signal } = ending;
parentPort?.once('message', () => ending.abort());
// this port alone does not keep the thread
parentPort?.unref();

const { path, meta, place } = settings.target;
const writer = new ObjectWriter(new LocalRepository(path, meta, -1, place), {
  durable: settings.durable,
  prefix: settings.prefix,
  checkpoint: () => signal.throwIfAborted(),
});
const client = new HttpClient(settings.http);
const urls = settings.mirrors.map((text) => new URL(text));
const mirrors = new Mirrors(client, urls);

const CORRUPTED = 'its content is corrupted';
const sizeOf = (row: number): number => sizes[row] as number;
const digestOf = (row: number): Uint8Array => digests.subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE);

const done = (row: number): void => countObject(counts, sizeOf(row), true);

const fail = (row: number, problem: string): void =>
  post({ type: 'failure', failure: { object: toHex(digestOf(row)), problem } });

/** The content of a frame; undefined if it is damaged. Valid until the next call. */
class FrameReader {
  readonly #frames: ObjectMap['frames'];
  /** Bytes of a pack, the first of which is at `#from` in it. */
  readonly #bytes: Uint8Array;
  readonly #from: number;
  readonly #space = new Uint8Array(FRAME_BYTES);
  #current = -1;
  #content: Uint8Array | undefined;

  constructor({ frames }: ObjectMap, bytes: Uint8Array, from: number) {
    this.#frames = frames;
    this.#bytes = bytes;
    this.#from = from;
  }

  read(frame: number): Uint8Array | undefined {
    if (frame !== this.#current) {
      this.#current = frame;
      this.#content = this.#decode(frame);
    }
    return this.#content;
  }

  #decode(frame: number): Uint8Array | undefined {
    const { offset, stored, raw } = this.#frames;
    const at = (offset[frame] as number) - this.#from;
    const bytes = this.#bytes.subarray(at, at + (stored[frame] as number));
    if (stored[frame] === raw[frame]) return bytes;
    const length = decompressFrame(bytes, this.#space);
    return length === raw[frame] ? this.#space.subarray(0, length) : undefined;
  }
}

/** Stores the objects in a part of a pack that are not there. @returns what is wrong with some of them */
function storePart(map: ObjectMap, { from, rows }: PullTask, bytes: Uint8Array): string | undefined {
  const reader = new FrameReader(map, bytes, from);
  const problems: string[] = [];
  for (const row of rows) {
    if (stored.has(row)) continue;
    const content = contentOf(map, reader, row);
    const problem = content === undefined ? 'a frame is damaged' : store(row, content);
    if (problem !== undefined) problems.push(`object ${toHex(digestOf(row))}: ${problem}`);
  }
  return problems[0];
}

/** Objects of this thread's tasks that are stored. */
const stored = new Set<number>();

function store(row: number, content: Uint8Array): string | undefined {
  const digest = digestContent(meta.hash, content);
  if (!equalBytes(digest.digest, digestOf(row))) return CORRUPTED;
  writer.putBytes(content, digest);
  stored.add(row);
  done(row);
  return undefined;
}

const whole = new Uint8Array(LARGE);

function contentOf({ frameOf, offsetOf }: ObjectMap, reader: FrameReader, row: number): Uint8Array | undefined {
  const [frame, offset, size] = [frameOf[row] as number, offsetOf[row] as number, sizeOf(row)];
  if (framesOf(size) === 1) return reader.read(frame)?.subarray(offset, offset + size);
  for (let at = 0, i = frame; at < size; at += FRAME_BYTES, i++) {
    const content = reader.read(i);
    if (content === undefined) return undefined;
    whole.set(content.subarray(0, size - at), at);
  }
  return whole.subarray(0, size);
}

async function pullPart(map: ObjectMap, task: PullTask): Promise<void> {
  const { pack, from, length, rows } = task;
  const { digest } = map.packs[pack] as ObjectMap['packs'][number];
  try {
    await mirrors.fetch(packName(digest), {
      range: { from, length },
      most: length,
      signal,
      check: (bytes) => storePart(map, task, bytes),
    });
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    for (const row of rows) if (!stored.has(row)) fail(row, error.message);
  }
}

/** An object whose content comes in pieces, each of which may be from another server. */
async function pullInPieces(row: number, pieces: (from: Mirrors) => AsyncGenerator<Uint8Array>): Promise<void> {
  let problem = CORRUPTED;
  // if servers give pieces that do not fit, the whole comes from one of them
  for (const from of [mirrors, ...(urls.length > 1 ? urls.map((url) => new Mirrors(client, [url])) : [])]) {
    const sink = writer.begin();
    let isStored = false;
    try {
      for await (const piece of pieces(from)) sink.write(piece);
      isStored = sink.finish(digestOf(row));
      if (isStored) return done(row);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      problem = error.message;
      if (from === mirrors) break;
    } finally {
      if (!isStored) sink.discard();
    }
  }
  fail(row, problem);
}

async function* piecesOfLarge(map: ObjectMap, row: number, from: Mirrors): AsyncGenerator<Uint8Array> {
  let left = sizeOf(row);
  for (const { first, last, ...range } of requestsOf(map, map.frameOf[row] as number, left)) {
    const { digest } = map.packs[map.frames.pack[first] as number] as ObjectMap['packs'][number];
    const { bytes } = await from.fetch(packName(digest), { range, most: range.length, signal });
    const reader = new FrameReader(map, bytes, range.from);
    for (let frame = first; frame <= last; frame++) {
      const content = reader.read(frame);
      if (content === undefined) throw new UnavailableError('a frame is damaged', false);
      const piece = content.subarray(0, left);
      left -= piece.length;
      yield piece;
    }
  }
}

async function* piecesOfFile(row: number, mirrors: Mirrors): AsyncGenerator<Uint8Array> {
  const size = sizeOf(row);
  for (let from = 0; from < size; from += REQUEST_BYTES) {
    const length = Math.min(REQUEST_BYTES, size - from);
    const { bytes } = await mirrors.fetch(objectFile(digestOf(row)), { range: { from, length }, most: length, signal });
    yield bytes;
  }
}

async function pullAlone(row: number): Promise<void> {
  const size = sizeOf(row);
  if (size > REQUEST_BYTES) return await pullInPieces(row, (from) => piecesOfFile(row, from));
  try {
    await mirrors.fetch(objectFile(digestOf(row)), { most: size, signal, check: (bytes) => store(row, bytes) });
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    fail(row, error.message);
  }
}

async function pull(task: PullTask): Promise<void> {
  const [row] = task.rows as [number];
  if (task.kind === 'alone') await pullAlone(row);
  else if (task.kind === 'part') await pullPart(map as ObjectMap, task);
  else await pullInPieces(row, (from) => piecesOfLarge(map as ObjectMap, row, from));
}

async function pullNext(): Promise<void> {
  for (let i = Atomics.add(turn, 0, 1); i < tasks.length; i = Atomics.add(turn, 0, 1)) {
    if (Atomics.load(turn, 1) !== 0) return;
    signal.throwIfAborted();
    await pull(tasks[i] as PullTask);
  }
}

try {
  const results = await Promise.allSettled(
    Array.from({ length: settings.requests }, async () => {
      try {
        await pullNext();
      } catch (error) {
        // the others of this thread end as well
        ending.abort();
        throw error;
      }
    }),
  );
  // what is complete stays, whatever happened
  writer.flush();
  const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  const error = reasons.find((reason) => (reason as Error).name !== 'AbortError');
  if (error !== undefined) throw error;
} catch (error) {
  post(failedMessage(error));
} finally {
  writer.close();
  await client.close();
}
