/** Packing: a source into objects and a manifest. */
import { randomBytes } from 'node:crypto';
import { toHex } from '../base/bytes.ts';
import { blake3, type HashAlgorithm } from '../base/digest.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { imageParts } from '../image/image-parts.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { placeToRegister } from '../image/registered-image.ts';
import { encodeManifest } from '../manifest/encode.ts';
import { inodeCount, type ManifestTables, objectCount, u64 } from '../manifest/tables.ts';
import { keepForAWhile } from '../store/gc/leases.ts';
import { registerImage, takeBack } from '../store/gc/register.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { replaceFile } from '../system/durable-file.ts';
import { FileCache } from './file-cache.ts';
import type { PackSettings } from './pack-settings.ts';
import { NO_KNOWN_FILES, Packer, throwIfAborted } from './packer.ts';
import type { Source } from './source.ts';

export interface PackedImage {
  /** BLAKE3 of the manifest, hexadecimal. */
  readonly id: string;
  /** Size of the image file. */
  readonly imageBytes: number;
  readonly hash: HashAlgorithm;
  /** Names in the tree, including the root. */
  readonly entries: number;
  readonly inodes: number;
  /** Regular files, hard links counted once, and their bytes. */
  readonly files: number;
  readonly bytes: number;
  /** Distinct objects of the image, and their bytes. */
  readonly objects: number;
  readonly objectBytes: number;
  /** Objects that the repository did not have. */
  readonly newObjects: number;
  readonly newBytes: number;
  /** Content bytes that needed no space: the repository had them, or another file of the tree has the same. */
  readonly sharedBytes: number;
  /** Files whose content is stored in the manifest. */
  readonly inlineFiles: number;
  /** Files that were not read, because they have not changed since an earlier run read them. */
  readonly unchangedFiles: number;
  /** Whether the image is registered in the repository. */
  readonly registered: boolean;
}

/**
 * Packs `source`. On any error, and when `signal` aborts, no image is written, an existing image stays, and nothing
 * remains in tmp/; objects that were stored remain and serve the next run.
 * @throws CfsError of kind source, store, image or interrupted
 */
export async function packImage(source: Source, settings: PackSettings): Promise<PackedImage> {
  const { repository } = settings;
  const lock = await lockForWriting(repository, settings.signal, settings.onWait);
  const prefix = `${randomBytes(8).toString('hex')}-`;
  let cache: FileCache | undefined;
  try {
    cache = new FileCache(repository, {
      source: source.name,
      prefix,
      rehash: settings.rehash,
      settledMs: settings.settledMs,
    });
    const { tables, counts, newObjects, newBytes } = await new Packer(source, settings, prefix, cache).run();
    const manifest = encodeManifest(tables);
    const digest = blake3(manifest);
    const id = toHex(digest);
    const file = imageParts(manifest, digest, settings.signature?.(digest));
    throwIfAborted(settings.signal);
    // before there is an image: no process may find one whose objects can be deleted
    const undo = await keepObjects(tables, id, settings);
    try {
      replaceFile(settings.image, file, settings.durable);
    } catch (error) {
      undo();
      throw new CfsError('system', `Cannot write image ${settings.image}: ${reasonOf(error)}`, { cause: error });
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
      registered: settings.register,
    };
  } finally {
    cache?.close();
    removeTemporaries(repository, prefix);
    lock.release();
  }
}

/**
 * The id that `packImage` would return. Reads every file, and stores nothing.
 * @param hash the algorithm that names objects
 * @throws CfsError of kind source, image or interrupted
 */
export async function imageIdOf(
  source: Source,
  hash: HashAlgorithm,
  settings: Pick<PackSettings, 'inlineMax' | 'threads' | 'openFiles' | 'signal' | 'onProgress'>,
): Promise<string> {
  const repository = new LocalRepository('/nowhere', { hash, uuid: '' });
  const all = { durable: false, rehash: true, register: false, repositories: [], image: '', ...settings };
  const packer = new Packer(source, { ...all, repository, hashOnly: true }, '', NO_KNOWN_FILES);
  const { tables } = await packer.run();
  return toHex(blake3(encodeManifest(tables)));
}

/** @returns a function that undoes the registration */
async function keepObjects(tables: ManifestTables, image: string, settings: PackSettings): Promise<() => void> {
  const { repository, register, durable } = settings;
  const kept = { ...keptImageOf(tables, { image, path: '', complete: true }), ...placeToRegister(settings.image) };
  if (register) {
    const done = await registerImage(repository, kept, durable);
    return () => takeBack(repository, kept, done);
  }
  await keepForAWhile(repository, kept, durable);
  return () => undefined;
}

/** Temporary files that stopped workers left: only those of this run, because other writers may be working. */
function removeTemporaries(repository: LocalRepository, prefix: string): void {
  try {
    repository.within('tmp', (directory) => {
      for (const name of directory.names()) if (name.startsWith(prefix)) directory.unlink(name);
    });
  } catch {
    // the earlier error is reported; the next writer removes the files
  }
}
