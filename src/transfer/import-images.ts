/**
 * Reads a stream of `exportImages`: stores its objects, writes its images, and registers them. Objects are verified one
 * by one; images are written after the checksum of the whole stream is right.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { equalBytes, toHex } from '../base/bytes.ts';
import { DIGEST_SIZE, digestContent } from '../base/digest.ts';
import type { CfsError } from '../base/error.ts';
import { pathText } from '../base/path-text.ts';
import { decodeImage } from '../image/image-file.ts';
import { splitImage } from '../image/image-parts.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { keepImage, missingObjects } from './loaded-images.ts';
import { decodeHeader, END, HEADER_BYTES, IMAGE, malformed, NAME_MAX, OBJECT, StreamReader } from './stream-format.ts';

export interface ImportOptions {
  /** Where the images are written; one of the same name is replaced. */
  readonly directory: string;
  readonly durable: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Receives a line for people if another program keeps the repository locked for long. */
  readonly onWait?: ((line: string) => void) | undefined;
  /** Called for each object with the numbers so far. */
  readonly onProgress?: ((done: { readonly objects: number; readonly bytes: number }) => void) | undefined;
}

export interface Imported {
  /** Objects in the stream, and those of them that the repository did not have. */
  readonly objects: number;
  readonly newObjects: number;
  readonly newBytes: number;
  readonly images: readonly { readonly id: string; readonly path: string; readonly missing: number }[];
}

interface ReceivedImage {
  readonly name: string;
  readonly id: string;
  readonly tables: ManifestTables;
  readonly bytes: Uint8Array;
}

/** Larger objects are not kept in memory. */
const WHOLE = 1 << 20;
const IMAGE_MAX = 0xffff_ffff;

/**
 * @param open returns the repository for the hash algorithm of the stream
 * @throws CfsError: `source` if the stream is cut off or damaged: objects that were complete before stay, and nothing
 *   is registered; `store`; `image`; the reason of the signal
 */
export async function importImages(
  chunks: AsyncIterable<Uint8Array>,
  open: (hash: LocalRepository['hash']) => LocalRepository,
  options: ImportOptions,
): Promise<Imported> {
  const stream = new StreamReader(chunks);
  const repository = open(decodeHeader(await stream.read(HEADER_BYTES)));
  const lock = await lockForWriting(repository, options.signal, options.onWait);
  const writer = new ObjectWriter(repository, {
    durable: options.durable,
    prefix: `${randomBytes(8).toString('hex')}-`,
    checkpoint: () => options.signal?.throwIfAborted(),
  });
  try {
    let received: Received;
    try {
      received = await receive(stream, repository, writer, options);
    } finally {
      // what is complete serves the next run
      writer.flush();
    }
    if (options.durable && writer.statistics.written > 0) writer.sync();
    const images = [];
    for (const image of received.images) images.push(await keep(repository, writer, image, options));
    const { written, writtenBytes } = writer.statistics;
    return { objects: received.objects, newObjects: written, newBytes: writtenBytes, images };
  } finally {
    writer.close();
    lock.release();
  }
}

interface Received {
  readonly images: readonly ReceivedImage[];
  readonly objects: number;
}

async function receive(
  stream: StreamReader,
  repository: LocalRepository,
  writer: ObjectWriter,
  { signal, onProgress }: ImportOptions,
): Promise<Received> {
  const images: ReceivedImage[] = [];
  let objects = 0;
  let bytes = 0;
  for (;;) {
    signal?.throwIfAborted();
    const [type] = await stream.read(1);
    if (type === IMAGE) images.push(await receiveImage(stream, repository));
    else if (type === OBJECT) {
      bytes += await receiveObject(stream, repository, writer);
      objects++;
      onProgress?.({ objects, bytes });
    } else if (type === END) {
      const counts = [await stream.readLength(), await stream.readLength()];
      const digest = stream.digest();
      const isRight = equalBytes(await stream.readChecksum(DIGEST_SIZE), digest);
      if (!isRight || counts[0] !== images.length || counts[1] !== objects) throw malformed('its checksum is wrong');
      if (!(await stream.isAtEnd())) throw malformed('something follows its end');
      return { images, objects };
    } else throw malformed(`it is damaged: an unknown record of type ${type}`);
  }
}

async function receiveImage(stream: StreamReader, repository: LocalRepository): Promise<ReceivedImage> {
  const length = (await stream.read(2)).readUInt16LE(0);
  const size = await stream.readLength();
  if (length > NAME_MAX || size > IMAGE_MAX) throw malformed('it is damaged: an image is too large');
  const name = pathText(await stream.read(length));
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name)) {
    throw malformed('an image has a name that no file can have');
  }
  const bytes = await stream.read(size);
  const { digest, ...parts } = splitImage(bytes);
  const tables = decodeImage(name, parts);
  if (tables.header.hash !== repository.hash) throw malformed(`image ${name} names objects by ${tables.header.hash}`);
  return { name, id: toHex(digest), tables, bytes };
}

/** @returns the size of the object */
async function receiveObject(stream: StreamReader, repository: LocalRepository, writer: ObjectWriter): Promise<number> {
  const digest = await stream.read(DIGEST_SIZE);
  const size = await stream.readLength();
  if (size === 0) throw malformed('it is damaged: an object without content');
  if (size <= WHOLE) {
    const bytes = await stream.read(size);
    const content = digestContent(repository.hash, bytes);
    if (!equalBytes(content.digest, digest)) throw corrupted(digest);
    writer.putBytes(bytes, content);
    return size;
  }
  const sink = writer.begin();
  let isComplete = false;
  try {
    for await (const piece of stream.pieces(size)) sink.write(piece);
    if (!sink.finish(digest)) throw corrupted(digest);
    isComplete = true;
  } finally {
    if (!isComplete) sink.discard();
  }
  return size;
}

const corrupted = (digest: Uint8Array): CfsError =>
  malformed(`it is damaged: the content of object ${toHex(digest)} is corrupted`);

/** Writes and registers an image. Its objects may be in the repository already, and not in the stream. */
async function keep(
  repository: LocalRepository,
  writer: ObjectWriter,
  { name, id, tables, bytes }: ReceivedImage,
  { directory, durable }: ImportOptions,
): Promise<Imported['images'][number]> {
  const path = join(directory, name);
  const missing = missingObjects(writer, tables).length;
  await keepImage(repository, { path, id, tables }, bytes, missing === 0, durable);
  return { id, path, missing };
}
