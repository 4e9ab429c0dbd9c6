/** `cfs-repo cache --pin` and `--unpin`. */
import { existsSync } from 'node:fs';
import { CfsError } from '../../src/base/error.ts';
import { readImage, readImageId } from '../../src/image/image-file.ts';
import { readKeptImage } from '../../src/image/image-needs.ts';
import { isRemote, parseRemoteAddress } from '../../src/remote/remote-url.ts';
import { CacheDirectory, cachedImage, cachePart } from '../../src/store/cache/cache-directory.ts';
import { idOfName } from '../../src/store/cache/cached-files.ts';
import { unpin } from '../../src/store/cache/pins.ts';
import { registerImage } from '../../src/store/gc/register.ts';
import { registeredIds } from '../../src/store/gc/roots.ts';
import { lockAgainstDeleting } from '../../src/store/lock.ts';
import { openCache } from '../../src/store/open-repository.ts';
import { shortId } from '../image-id.ts';
import { warn } from './repository.ts';

export interface PinNetwork {
  readonly insecure: boolean;
  readonly cacert?: string;
}

const ID = /^[0-9a-f]{4,64}$/;
const CONNECTIONS = 1;

/**
 * Pins an image; nothing is fetched.
 * @param word an image file, the id of one in the cache, or the beginning of that, or a URL that names an image
 * @returns the id
 * @throws CfsError: `image` if there is no such image file; `store` if the directory is no cache, or cannot be written;
 *   as RemoteRepository
 */
export async function pinImage(cache: string, word: string, network: PinNetwork): Promise<string> {
  // with an image file, nothing else would show that the directory is no cache
  if (existsSync(cache)) CacheDirectory.open(cache, { toDelete: true }).close();
  const path = await fileOf(cache, word, network);
  const { tables } = readImage(path);
  const { hash } = tables.header;
  const repository = openCache(cachePart(cache, hash), hash);
  const lock = await lockAgainstDeleting(repository, { onWait: warn });
  try {
    const kept = readKeptImage(repository, path);
    await registerImage(repository, kept, true);
    return kept.image;
  } finally {
    lock.release();
  }
}

async function fileOf(cache: string, word: string, network: PinNetwork): Promise<string> {
  const id = isRemote(word) ? await remoteId(word, network) : idAmong(imagesIn(cache), word, 'in the cache');
  if (id === undefined) return word;
  const path = cachedImage(cache, id);
  if (existsSync(path)) return path;
  throw new CfsError(
    'image',
    `Cannot pin image ${id}: it is not in the cache ${cache}. Mount it first: --pin fetches nothing`,
  );
}

/**
 * Removes the pin of an image.
 * @param word as for `pinImage`; the id of a pinned image, too
 * @throws CfsError: `usage` if it is not pinned
 */
export async function unpinImage(cache: string, word: string, network: PinNetwork): Promise<string> {
  const opened = CacheDirectory.open(cache, { toDelete: true });
  try {
    const pinned = opened.repositories.map((repository) => ({ repository, ids: registeredIds(repository) }));
    const all = pinned.flatMap(({ ids }) => ids);
    const named = isRemote(word) ? await remoteId(word, network) : idAmong(all, word, 'pinned');
    const id = named ?? readImageId(word);
    for (const { repository } of pinned.filter(({ ids }) => ids.includes(id))) {
      const lock = await lockAgainstDeleting(repository, { onWait: warn });
      try {
        if (unpin(repository, id)) return id;
      } finally {
        lock.release();
      }
    }
    throw new CfsError('usage', `image ${id} is not pinned in the cache ${cache}`);
  } finally {
    opened.close();
  }
}

/** Undefined if the word is not an id: a file of this name precedes it. */
function idAmong(ids: readonly string[], word: string, where: string): string | undefined {
  const digits = word.toLowerCase();
  if (!ID.test(digits) || existsSync(word)) return undefined;
  const found = [...new Set(ids.filter((id) => id.startsWith(digits)))];
  if (found.length === 1 || digits.length === 64) return found[0] ?? digits;
  const what = found.length === 0 ? `no image whose id begins with ${digits} is` : `several ids begin with ${digits}:`;
  const which = found.length === 0 ? where : found.slice(0, 10).map(shortId).join(', ');
  throw new CfsError('usage', `${what} ${which}`);
}

/** The ids of the images in a cache; none if it is missing. */
function imagesIn(cache: string): readonly string[] {
  if (!existsSync(cache)) return [];
  const opened = CacheDirectory.open(cache, { toDelete: false });
  try {
    return opened.withImages((images) => images.names().flatMap((name) => idOfName(name) ?? [])) ?? [];
  } finally {
    opened.close();
  }
}

/** The server is asked only if the URL has a name in place of an id. */
async function remoteId(word: string, { insecure, cacert }: PinNetwork): Promise<string> {
  const address = parseRemoteAddress(word, insecure);
  if (address.id !== undefined) return address.id;
  if (address.ref === undefined) throw new CfsError('usage', `${word} names no image: add #NAME or @ID`);
  const { RemoteRepository } = await import('../../src/transfer/remote-repository.ts');
  const remote = await RemoteRepository.open(address, { connections: CONNECTIONS, cacert });
  try {
    return await remote.imageId();
  } finally {
    await remote.close();
  }
}
