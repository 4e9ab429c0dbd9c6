/** Packing: a source into objects and a manifest. */
import { randomBytes } from 'node:crypto';
import { printable, toHex } from '../base/bytes.ts';
import { BLOCK_SIZE, blake3, blockCount, DIGEST_SIZE, type HashAlgorithm } from '../base/digest.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { imageParts } from '../image/image-parts.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { placeToRegister } from '../image/registered-image.ts';
import { type BuilderInode, ManifestBuilder } from '../manifest/builder.ts';
import { encodeManifest } from '../manifest/encode.ts';
import {
  BLOCK_HASHES_LIMIT,
  inodeCount,
  type ManifestTables,
  objectCount,
  type RepositoryHint,
  u64,
} from '../manifest/tables.ts';
import { keepForAWhile, registerImage, takeBack } from '../store/gc/roots.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { replaceFile } from '../system/durable-file.ts';
import { isOutOfFiles } from '../system/resource-limits.ts';
import type { ContentResult } from './content-job.ts';
import { ContentPool } from './content-pool.ts';
import { FileCache } from './file-cache.ts';
import { MOST_OPEN_FILES, type OpenFilesPlan } from './open-files-plan.ts';
import type { FileContent, FileStamp, Source, SourceEntry } from './source.ts';

export interface BuildOptions {
  readonly repository: LocalRepository;
  /** Where the image goes. Replaced as a whole when everything else is done, or not touched. */
  readonly image: string;
  readonly inlineMax: number;
  readonly threads: number;
  /** How many files may be open at a time. Default: what is fastest. */
  readonly openFiles?: Omit<OpenFilesPlan, 'threads' | 'sourceDirectories'>;
  /** fsync objects and image. */
  readonly durable: boolean;
  readonly repositories: readonly RepositoryHint[];
  /** The signature that is to lie in the image file, where one is. `id` has 32 bytes. */
  readonly signature?: (id: Uint8Array) => Uint8Array;
  /** Read every file, also those that an earlier run has read and that did not change. */
  readonly rehash: boolean;
  /** Register the image in the repository, so that its objects are kept; else they are kept for a while. */
  readonly register: boolean;
  /** For tests: `FileCacheOptions.settledMs`. */
  readonly settledMs?: number;
  readonly signal?: AbortSignal;
  /** Told, as a line for people, when another program keeps the store locked for long. */
  readonly onWait?: (line: string) => void;
  readonly onProgress?: (progress: BuildProgress) => void;
}

/** Called often and must be cheap. `entries` is the final number once `scanned` is true. */
export interface BuildProgress {
  readonly entries: number;
  readonly files: number;
  readonly bytes: number;
  readonly filesDone: number;
  readonly bytesDone: number;
  readonly scanned: boolean;
}

export interface BuildResult {
  /** BLAKE3 of the manifest, hexadecimal. */
  readonly id: string;
  /** Size of the image file. */
  readonly imageBytes: number;
  readonly hash: HashAlgorithm;
  /** Names in the tree, the root included. */
  readonly entries: number;
  readonly inodes: number;
  /** Regular files, hard links counted once, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** Distinct objects of the image, and their bytes. */
  readonly objects: number;
  readonly objectBytes: number;
  /** Objects that the store did not have. */
  readonly newObjects: number;
  readonly newBytes: number;
  /** Content bytes that needed no space: the store had them, or another file of the tree has the same. */
  readonly sharedBytes: number;
  /** Files whose content lies in the manifest. */
  readonly inlineFiles: number;
  /** Files that were not read, because they have not changed since an earlier run read them. */
  readonly unchangedFiles: number;
  /** Whether the image is registered in the repository. */
  readonly registered: boolean;
}

/** Mutable counts behind BuildProgress. */
interface Counts {
  entries: number;
  files: number;
  bytes: number;
  filesDone: number;
  bytesDone: number;
  inlineFiles: number;
  inlineBytes: number;
  unchangedFiles: number;
  scanned: boolean;
}

/** How many entries the main thread takes before it lets signals and messages through. */
const BREATHE = 512;

/**
 * Packs `source`. On any error, and when `signal` aborts, no image is written, an image that was there
 * stays, and nothing is left in tmp/; objects that were stored remain and serve the next run.
 * @throws CfsError of kind source, store, image or interrupted
 */
export async function buildImage(source: Source, options: BuildOptions): Promise<BuildResult> {
  const { repository } = options;
  const lock = await lockForWriting(repository, options.signal, options.onWait);
  const prefix = `${randomBytes(8).toString('hex')}-`;
  try {
    const cache = new FileCache(repository, {
      source: source.name,
      prefix,
      rehash: options.rehash,
      settledMs: options.settledMs,
    });
    const { tables, counts, newObjects, newBytes } = await pack(source, options, prefix, cache);
    const manifest = encodeManifest(tables);
    const digest = blake3(manifest);
    const id = toHex(digest);
    const file = imageParts(manifest, digest, options.signature?.(digest));
    checkAborted(options.signal);
    // before there is an image: nobody may find one whose objects can be deleted
    const undo = await keepObjects(tables, id, options);
    try {
      replaceFile(options.image, file, options.durable);
    } catch (error) {
      undo();
      throw new CfsError('system', `Cannot write image ${options.image}: ${reasonOf(error)}`, { cause: error });
    }
    cache.save();
    const { size } = tables.objects;
    const objects = objectCount(tables);
    let objectBytes = 0;
    for (let i = 0; i < objects; i++) objectBytes += u64(size, i);
    return {
      id,
      imageBytes: file.reduce((sum, part) => sum + part.length, 0),
      hash: repository.hash,
      entries: counts.entries,
      inodes: inodeCount(tables),
      files: counts.files,
      bytes: counts.bytes,
      objects,
      objectBytes,
      newObjects,
      newBytes,
      sharedBytes: counts.bytes - counts.inlineBytes - newBytes,
      inlineFiles: counts.inlineFiles,
      unchangedFiles: counts.unchangedFiles,
      registered: options.register,
    };
  } finally {
    removeTemporaries(repository, prefix);
    lock.release();
  }
}

/** @returns what takes back the registration */
async function keepObjects(tables: ManifestTables, image: string, options: BuildOptions): Promise<() => void> {
  const { repository, register, durable } = options;
  const kept = { ...keptImageOf(tables, { image, path: '', complete: true }), ...placeToRegister(options.image) };
  if (register) {
    const done = await registerImage(repository, kept, durable);
    return () => takeBack(repository, kept, done);
  }
  await keepForAWhile(repository, kept, durable);
  return () => undefined;
}

interface Packed {
  readonly tables: ManifestTables;
  readonly counts: Counts;
  readonly newObjects: number;
  readonly newBytes: number;
}

async function pack(source: Source, options: BuildOptions, prefix: string, cache: FileCache): Promise<Packed> {
  const { repository, durable } = options;
  const builder = new ManifestBuilder(repository.hash, source.root);
  const counts: Counts = {
    entries: 1,
    files: 0,
    bytes: 0,
    filesDone: 0,
    bytesDone: 0,
    inlineFiles: 0,
    inlineBytes: 0,
    unchangedFiles: 0,
    scanned: false,
  };
  const toRemember = new Map<BuilderInode, FileStamp>();
  const onResult = (inode: BuilderInode, { content, inline }: ContentResult): void => {
    counts.filesDone++;
    counts.bytesDone += content.size;
    if (inline === undefined) {
      builder.setObject(inode, content);
      const stamp = toRemember.get(inode);
      if (stamp !== undefined) cache.add(stamp, content);
      toRemember.delete(inode);
    } else {
      builder.setInline(inode, content, inline);
      if (content.size > 0) counts.inlineFiles++;
      counts.inlineBytes += content.size;
    }
    options.onProgress?.(counts);
  };
  const { threads, inlineMax, openFiles = MOST_OPEN_FILES } = options;
  const { hash, uuid, place } = repository;
  const pool = new ContentPool(
    { threads, prefix, store: repository.path, meta: { hash, uuid }, place, durable, inlineMax, ...openFiles },
    onResult,
  );
  const onAbort = (): void => pool.abort(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort);
  try {
    const take = (inode: BuilderInode, content: FileContent, path: Uint8Array): Promise<void> | undefined => {
      const { stamp, size } = content;
      if (stamp !== undefined && size > inlineMax) {
        const known = cache.find(stamp);
        if (known !== undefined) {
          counts.unchangedFiles++;
          onResult(inode, { content: known });
          return undefined;
        }
        if (cache.isSettled(stamp)) toRemember.set(inode, stamp);
      }
      try {
        return pool.add(inode, content.open(), path);
      } catch (error) {
        if (!(error instanceof CfsError) || !isOutOfFiles(error.cause)) throw error;
      }
      // others have opened files, too: those that wait to be read are the most of ours
      return pool.drain().then(() => pool.add(inode, content.open(), path));
    };
    if (cache.objects !== undefined) pool.check(cache.objects);
    await feed(source, builder, take, counts, options);
    const { written, writtenBytes } = await pool.finish();
    // the batches were synced before their renames; this one is for the names themselves
    if (durable && written > 0) syncNames(repository, prefix);
    return { tables: builder.finish(options.repositories), counts, newObjects: written, newBytes: writtenBytes };
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    await pool.close();
  }
}

function syncNames(repository: LocalRepository, prefix: string): void {
  const writer = new ObjectWriter(repository, { durable: true, prefix });
  try {
    writer.sync();
  } finally {
    writer.close();
  }
}

async function feed(
  source: Source,
  builder: ManifestBuilder,
  take: (inode: BuilderInode, content: FileContent, path: Uint8Array) => Promise<void> | undefined,
  counts: Counts,
  options: BuildOptions,
): Promise<void> {
  const inodeOf: BuilderInode[] = [0];
  for (const entry of source.entries()) {
    counts.entries++;
    const inode = addEntry(builder, inodeOf, entry);
    if (entry.inode.kind === 'regular') {
      counts.files++;
      counts.bytes += entry.inode.content.size;
      checkSize(entry.inode.content.size, entry.path, options.repository.hash);
      const wait = take(inode, entry.inode.content, entry.path);
      if (wait !== undefined) await wait;
    }
    if (counts.entries % BREATHE === 0) {
      options.onProgress?.(counts);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    checkAborted(options.signal);
  }
  counts.scanned = true;
  options.onProgress?.(counts);
}

/** What no image can describe is refused before it is read: 8 TiB of a sparse file take an hour. */
function checkSize(size: number, path: Uint8Array, hash: HashAlgorithm): void {
  if (blockCount(hash, size) * DIGEST_SIZE <= BLOCK_HASHES_LIMIT) return;
  const most = Math.floor(BLOCK_HASHES_LIMIT / DIGEST_SIZE) * BLOCK_SIZE;
  throw new CfsError(
    'source',
    `Cannot pack ${printable(path)}: it has ${size} bytes; an image holds files of at most ${most}. Leave it out, or make it smaller: 'truncate' where it is sparse.`,
  );
}

function addEntry(builder: ManifestBuilder, inodeOf: BuilderInode[], entry: SourceEntry): BuilderInode {
  const { inode: what } = entry;
  const inode = what.kind === 'link' ? (inodeOf[what.to] as BuilderInode) : builder.addInode(what.metadata);
  if (what.kind === 'symlink') builder.setTarget(inode, what.target);
  inodeOf.push(inode);
  builder.link(inodeOf[entry.parent] as BuilderInode, entry.name, inode);
  return inode;
}

function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw signal.reason;
}

/** What stopped workers left: files of this run alone, other writers may be at work. */
function removeTemporaries(repository: LocalRepository, prefix: string): void {
  try {
    repository.within('tmp', (directory) => {
      for (const name of directory.names()) if (name.startsWith(prefix)) directory.unlink(name);
    });
  } catch {
    // what went wrong before is what to report; the next writer removes what is left
  }
}
