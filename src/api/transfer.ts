/**
 * Images with their objects: from repository to repository, to and from servers, and as one stream.
 * @module
 */
import { availableParallelism } from 'node:os';
import { CfsError } from '../base/error.ts';
import { openOrInitRepository } from '../store/open-repository.ts';
import { type CopySource, copyImages as copy } from '../transfer/copy-images.ts';
import { exportImages as exportStream } from '../transfer/export-images.ts';
import { importImages as importStream } from '../transfer/import-images.ts';
import { expectHash, type LoadedImage, loadImages, readImages } from '../transfer/loaded-images.ts';
import { abortable, given, localOf, pathGiven, repositoryPath, stopIfAborted } from './arguments.ts';
import { isUrl, type NetworkOptions, withRemotes } from './network.ts';
import type { Repository, WorkOptions } from './repository.ts';

export { type FetchedImage, type FetchImageOptions, fetchImage } from './fetched.ts';
export type { NetworkOptions } from './network.ts';
export {
  type PruneOptions,
  type PruneResult,
  type PullOptions,
  type PullResult,
  type PushOptions,
  type PushResult,
  pruneDirectory,
  pullImage,
  pushImages,
  type TransferProgress,
} from './push-pull.ts';

/**
 * An image that arrived.
 * @example
 * import { copyImages, type TransferredImage } from '@cfs-images/cfs/transfer';
 *
 * const { images } = await copyImages('/srv/copy', ['/srv/rootfs.cfs'], { from: ['/srv/store'] });
 * const isComplete = ({ missing }: TransferredImage): boolean => missing === 0;
 * console.log(images.every(isComplete));
 */
export interface TransferredImage {
  readonly id: string;
  /** The path of its file. */
  readonly path: string;
  /** The number of its objects that the repository does not have. */
  readonly missing: number;
}

/**
 * Options of copying images.
 * @example
 * import { type CopyOptions, copyImages } from '@cfs-images/cfs/transfer';
 *
 * const options: CopyOptions = { from: ['/srv/store'], threads: 2, onProgress: ({ bytes }) => console.log(bytes) };
 * console.log((await copyImages('/srv/copy', ['/srv/rootfs.cfs'], options)).objects);
 */
export interface CopyOptions extends WorkOptions, NetworkOptions {
  /** Repositories that have the objects, searched in this order; URLs, too. */
  readonly from: readonly (string | Repository)[];
  /** The number of threads that copy and verify; default: one per processor, at most 8. */
  readonly threads?: number;
  /** Wait until all is on the disk; default: true. */
  readonly durable?: boolean;
  /** Called ten times a second with the numbers so far; `bytes` includes objects that were there before. */
  readonly onProgress?: (done: { readonly objects: number; readonly bytes: number }) => void;
}

/**
 * The result of copying images.
 * @example
 * import { type CopyResult, copyImages } from '@cfs-images/cfs/transfer';
 *
 * const images = ['/srv/rootfs.cfs'];
 * const { objects, existing }: CopyResult = await copyImages('/srv/copy', images, { from: ['/srv/store'] });
 * console.log(objects, existing);
 */
export interface CopyResult {
  readonly images: readonly TransferredImage[];
  /** Objects that were copied, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** Objects that the repository had. */
  readonly existing: number;
  /** Objects that no other repository has in good condition: their digests, and why. */
  readonly failures: readonly { readonly object: string; readonly problem: string }[];
}

/**
 * Copies the objects of images into a repository that does not have them, verified, and registers the images that are
 * complete then. The repository is created if it is missing. If it is stopped or killed, the next run continues.
 * @param repository where to
 * @param images their files
 * @throws CfsError: `usage` without images, `image`, `store`, `interrupted`. Objects without a good copy are in the
 *   result
 * @example
 * import { copyImages } from '@cfs-images/cfs/transfer';
 *
 * const { objects, failures } = await copyImages('/srv/copy', ['/srv/rootfs.cfs'], { from: ['/srv/store'] });
 * console.log(objects, failures.length);
 */
export function copyImages(
  repository: string | Repository,
  images: readonly string[],
  options: CopyOptions,
): Promise<CopyResult> {
  const { signal, onWait, onProgress, durable = true, threads = Math.min(availableParallelism(), 8) } = options;
  return abortable(signal, async () => {
    if (options.from.length === 0) {
      throw new CfsError('usage', 'Cannot copy images: there is no repository to copy from');
    }
    const locals = new Map(options.from.flatMap((each) => (isUrl(each) ? [] : [[each, localOf(each)] as const])));
    const urls = options.from.filter(isUrl);
    const loaded = readImages(imagesGiven(images)) as [LoadedImage, ...LoadedImage[]];
    const { hash } = loaded[0].tables.header;
    for (const local of locals.values()) expectHash(loaded, local);
    expectHash(loaded, { hash, path: repositoryPath(repository) });
    const copied = await withRemotes(urls, hash, options, (remotes) => {
      const sources = options.from.map((each) =>
        isUrl(each) ? remotes[urls.indexOf(each)] : locals.get(each),
      ) as CopySource[];
      const target = openOrInitRepository(repositoryPath(repository), hash);
      return copy(sources, target, loaded, { threads, durable, ...given({ signal, onWait, onProgress }) });
    });
    const { copied: objects, copiedBytes: bytes, existing, failures } = copied;
    return { images: copied.images, objects, bytes, existing, failures };
  });
}

/**
 * Images and their objects as one stream, for `importImages`. Every object is verified before a byte of it is returned.
 * @param repository has all objects
 * @param images their files
 * @throws CfsError: `usage` without images, `image`; `store` if an object is missing or damaged: the stream has no end
 *   then; `interrupted`
 * @example
 * import { createWriteStream } from 'node:fs';
 * import { Readable } from 'node:stream';
 * import { pipeline } from 'node:stream/promises';
 * import { exportImages } from '@cfs-images/cfs/transfer';
 *
 * const stream = Readable.from(exportImages('/srv/store', ['/srv/rootfs.cfs']));
 * await pipeline(stream, createWriteStream('/srv/rootfs.export'));
 */
export function* exportImages(
  repository: string | Repository,
  images: readonly string[],
  { signal }: { readonly signal?: AbortSignal } = {},
): Generator<Uint8Array, void, undefined> {
  stopIfAborted(signal);
  const local = localOf(repository);
  for (const bytes of exportStream(local, loadImages(imagesGiven(images), local))) {
    stopIfAborted(signal);
    // a copy, which slice() of a Buffer is not: the memory is used again
    yield Uint8Array.from(bytes);
  }
}

/**
 * Options of importing.
 * @example
 * import { exportImages, type ImportOptions, importImages } from '@cfs-images/cfs/transfer';
 *
 * const options: ImportOptions = { directory: '/srv', durable: false };
 * await importImages('/srv/copy', exportImages('/srv/store', ['/srv/rootfs.cfs']), options);
 */
export interface ImportOptions extends WorkOptions {
  /** Where the files of the images are written. Files of the same names are replaced. */
  readonly directory: string;
  /** Wait until all is on the disk; default: true. */
  readonly durable?: boolean;
  /** Called for each object with the numbers so far. */
  readonly onProgress?: (done: { readonly objects: number; readonly bytes: number }) => void;
}

/**
 * The result of importing.
 * @example
 * import { exportImages, type ImportResult, importImages } from '@cfs-images/cfs/transfer';
 *
 * const stream = exportImages('/srv/store', ['/srv/rootfs.cfs']);
 * const { newObjects }: ImportResult = await importImages('/srv/copy', stream, { directory: '/srv' });
 * console.log(newObjects);
 */
export interface ImportResult {
  readonly images: readonly TransferredImage[];
  /** Objects in the stream; and those that the repository did not have, and their bytes. */
  readonly objects: number;
  readonly newObjects: number;
  readonly newBytes: number;
}

/**
 * Stores the objects of a stream of `exportImages`, and then writes and registers its images. The repository is created
 * if it is missing.
 * @param repository for the objects
 * @param stream pieces of any size, such as a Readable
 * @throws CfsError: `source` if the stream is cut off or damaged: then no image is written, and objects that were
 *   complete stay; `store`; `image`; `interrupted`
 * @example
 * import { createReadStream, writeFileSync } from 'node:fs';
 * import { exportImages, importImages } from '@cfs-images/cfs/transfer';
 *
 * writeFileSync('/srv/rootfs.export', Buffer.concat([...exportImages('/srv/store', ['/srv/rootfs.cfs'])]));
 * const { images } = await importImages('/srv/copy', createReadStream('/srv/rootfs.export'), { directory: '/srv' });
 * console.log(images.map(({ path }) => path));
 */
export function importImages(
  repository: string | Repository,
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: ImportOptions,
): Promise<ImportResult> {
  const { signal, onWait, onProgress, durable = true } = options;
  return abortable(signal, () =>
    importStream(piecesOf(stream), (hash) => openOrInitRepository(repositoryPath(repository), hash), {
      directory: pathGiven('directory', options.directory),
      durable,
      ...given({ signal, onWait, onProgress }),
    }),
  );
}

async function* piecesOf(stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* stream;
}

/** @throws CfsError (usage) */
function imagesGiven(images: readonly string[]): readonly string[] {
  if (images.length === 0) throw new CfsError('usage', 'Cannot transfer images: none is given');
  return images.map((image) => pathGiven('image', image));
}
