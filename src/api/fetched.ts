/** What functions of the library need from remote repositories, fetched before it is read. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CfsError, reasonOf } from '../base/error.ts';
import { walkPaths } from '../manifest/dump.ts';
import { objectOf } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { readTrustedKeys } from '../sign/key-file.ts';
import { defaultCache } from '../store/default-store.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { initRepository } from '../store/open-repository.ts';
import { fetchImage as fetchIntoCache, repositoryOf } from '../transfer/cached-image.ts';
import { abortable, given, localOf, pathGiven } from './arguments.ts';
import { isUrl, type NetworkOptions, withRemotes } from './network.ts';
import type { Repository } from './repository.ts';

/**
 * Options of fetching an image.
 * @example
 * import { type FetchImageOptions, fetchImage } from '@cfs-images/cfs/transfer';
 *
 * const options: FetchImageOptions = { cache: '/srv/cache' };
 * console.log((await fetchImage('https://example.org/images#rootfs', options)).path);
 */
export interface FetchImageOptions extends Omit<NetworkOptions, 'connections'> {
  /** The directory of the cache; default: /var/cache/cfs for root, else ~/.cache/cfs. Created if it is missing. */
  readonly cache?: string;
  /** Files of public keys in PEM: refuse an image that is signed by none of them. */
  readonly keys?: readonly string[];
  /** Stops the work, which then rejects with a CfsError (interrupted). */
  readonly signal?: AbortSignal;
}

/**
 * An image file in a cache.
 * @example
 * import { type FetchedImage, fetchImage } from '@cfs-images/cfs/transfer';
 *
 * const image: FetchedImage = await fetchImage('https://example.org/images#rootfs', { cache: '/srv/cache' });
 * console.log(image.id, image.path);
 */
export interface FetchedImage {
  readonly id: string;
  /** Absolute. The file is there until the cache makes room: read or mount it soon, or copy it. */
  readonly path: string;
}

/**
 * Fetches the file of an image into a cache, verified, without its objects. If the cache has the image, it is not
 * fetched again; for an id no server is asked then. A signature is looked at when it is fetched, and again by the
 * `keys` of `openImage`.
 * @param address `https://HOST/PATH#NAME` or `…@ID`; several mirrors with `|` between them
 * @throws CfsError: `usage`; `image` if it is not there, malformed, or no key has signed it; `store` if no server
 *   answers, or the cache cannot be written; `interrupted`
 * @example
 * import { openImage } from '@cfs-images/cfs/image';
 * import { fetchImage } from '@cfs-images/cfs/transfer';
 *
 * const { path } = await fetchImage('https://example.org/images#rootfs', { cache: '/srv/cache' });
 * console.log(openImage(path).inodes);
 */
export function fetchImage(address: string, options: FetchImageOptions = {}): Promise<FetchedImage> {
  const { insecure = false, cacert, keys = [], signal } = options;
  return abortable(signal, async () => {
    if (!isUrl(address)) {
      throw new CfsError('usage', `${String(address)} is not a URL; give one like https://HOST/PATH#NAME`);
    }
    repositoryOf(address);
    const cache = options.cache === undefined ? defaultCache() : resolve(pathGiven('cache', options.cache));
    const certificates = given({ cacert: cacert === undefined ? undefined : pathGiven('cacert', cacert) });
    const trusted = keys.length === 0 ? [] : readTrustedKeys(keys);
    const image = await fetchIntoCache(address, { cache, insecure, ...certificates }, trusted, signal);
    image.release();
    return { id: image.id, path: image.path };
  });
}

interface ReadOptions extends NetworkOptions {
  readonly signal?: AbortSignal;
  readonly onWarning?: (line: string) => void;
}

/** Threads that fetch. */
const THREADS = 4;

/**
 * The repositories for reading some paths of an image. What only remote ones have is fetched, into one more repository.
 * @param paths absolute, in the image
 * @returns `remove` deletes what was fetched
 * @throws CfsError: `usage`, `store`, `system`; the reason of the signal
 */
export async function fetchedRepositories(
  image: { readonly id: string; readonly tables: ManifestTables },
  paths: readonly Uint8Array[],
  repositories: readonly (string | Repository)[],
  options: ReadOptions,
): Promise<{ readonly repositories: readonly LocalRepository[]; remove(): void }> {
  const { tables } = image;
  const { hash } = tables.header;
  const urls = repositories.filter(isUrl);
  const locals = repositories.filter((each) => !isUrl(each)).map((each) => localOf(each, hash));
  if (urls.length === 0) return { repositories: locals, remove: () => undefined };
  const objects: number[] = [];
  walkPaths(tables, paths, (row) => {
    const object = objectOf(tables, row);
    if (object >= 0) objects.push(object);
  });
  const place = temporaryDirectory();
  const remove = (): void => rmSync(place, { recursive: true, force: true });
  try {
    const fetched = initRepository(join(place, 'objects'), hash);
    await withRemotes(urls, hash, options, async (remotes) => {
      const { fetchMissing } = await import('../transfer/fetch-missing.ts');
      const wanted = { image, objects, locals, threads: THREADS, durable: false, signal: options.signal };
      const { failures } = await fetchMissing(remotes, fetched, wanted);
      for (const { object, problem } of failures) options.onWarning?.(`Cannot fetch object ${object}: ${problem}`);
    });
    return { repositories: [...locals, fetched], remove };
  } catch (error) {
    remove();
    throw error;
  }
}

/** @throws CfsError (system) */
function temporaryDirectory(): string {
  const where = process.env['TMPDIR'] || '/var/tmp';
  try {
    return mkdtempSync(join(where, 'cfs-'));
  } catch (error) {
    throw new CfsError('system', `Cannot make a directory for objects in ${where}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}
