/** Images that a URL names, in a cache: `cfs-mount https://HOST/PATH#NAME MOUNTPOINT`. */
import { randomBytes } from 'node:crypto';
import { fstatSync, futimesSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { toHex } from '../base/bytes.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { splitImage } from '../image/image-parts.ts';
import { requireSignature } from '../image/image-signature.ts';
import { parseRemoteAddress } from '../remote/remote-url.ts';
import type { TrustedKey } from '../sign/keys.ts';
import { cachedImage } from '../store/cache/cache-directory.ts';
import { keepInUse } from '../store/cache/image-use.ts';
import { StoreDirectory } from '../store/store-directory.ts';
import { requireTrust } from '../store/trust.ts';
import { closeFd } from '../system/descriptors.ts';
import { makeDirectory } from '../system/durable-file.ts';

const CONNECTIONS = 1;

interface ImagePlace {
  /** The image file in the cache. */
  readonly path: string;
  readonly id: string;
}

export interface LocalImage extends ImagePlace {
  /** Lets others delete the file. Until then, or until this process ends, it stays. Call it once at most. */
  release(): void;
}

/** Where images are kept, and how they are fetched. */
export interface CacheOptions {
  /** The directory of the cache, absolute. */
  readonly cache: string;
  /** Permits `http://` to other machines. */
  readonly insecure: boolean;
  /** A file of certificates that are trusted beside those of node. */
  readonly cacert?: string;
}

/** The repository in which a URL names an image. @throws CfsError (usage) if it is malformed, or names no image */
export function repositoryOf(word: string): string {
  // whether http is permitted is asked when the options of the mount are known
  const { text, ref, id } = parseRemoteAddress(word, true);
  if (ref !== undefined || id !== undefined) return text;
  throw new CfsError('usage', `${word} names no image: add #NAME or @ID`);
}

/**
 * Fetches an image into `images` of the cache. For an id that is there already, no server is asked.
 * @param signal stops the work, which then throws its reason
 * @param keys one of these must have signed it; none: no signature is needed
 * @throws CfsError: `image` if it is not there, malformed or not signed; `store` if no server answers, or the cache
 *   cannot be written
 */
export async function fetchImage(
  word: string,
  { cache, insecure, cacert }: CacheOptions,
  keys: readonly TrustedKey[],
  signal?: AbortSignal,
): Promise<LocalImage> {
  const address = parseRemoteAddress(word, insecure);
  const place = (id: string): ImagePlace => ({ path: cachedImage(cache, id), id });
  const there = address.id === undefined ? undefined : held(place(address.id), keys);
  if (there !== undefined) return there;
  const { RemoteRepository } = await import('./remote-repository.ts');
  const remote = await RemoteRepository.open(address, { connections: CONNECTIONS, cacert }, signal);
  try {
    const image = place(await remote.imageId(undefined, signal));
    const there = held(image, keys);
    if (there !== undefined) return there;
    const { bytes } = await remote.image(image.id, keys.length === 0 ? undefined : keys, signal);
    keep(image.path, bytes);
    // others may delete it at once; then the mount reports that it is gone
    return held(image, keys) ?? { ...image, release: () => undefined };
  } finally {
    await remote.close();
  }
}

/**
 * The image, if the cache has it, undamaged and signed: it is not deleted until it is released. By then a mount has it
 * in use. An image may have been signed since it was fetched.
 */
function held({ path, id }: ImagePlace, keys: readonly TrustedKey[]): LocalImage | undefined {
  let fd: number | undefined;
  try {
    fd = openIn(dirname(path), basename(path));
    const isInUse = keepInUse(fd);
    const { digest, signature } = splitImage(readFileSync(fd));
    if (isInUse && toHex(digest) === id) {
      if (keys.length > 0) requireSignature(path, id, signature, keys);
      noteUse(fd);
      const kept = fd;
      fd = undefined;
      return { path, id, release: () => closeFd(kept) };
    }
  } catch {
    // it is fetched, and replaced
  } finally {
    if (fd !== undefined) closeFd(fd);
  }
  return undefined;
}

function openIn(directory: string, name: string): number {
  const images = StoreDirectory.at(directory);
  try {
    return images.openFile(name);
  } finally {
    images.close();
  }
}

/** The file system notes that a file is read once a day, at most: then an older image would be deleted later. */
function noteUse(fd: number): void {
  try {
    futimesSync(fd, new Date(), fstatSync(fd).mtime);
  } catch {
    // the file of another user
  }
}

/** @throws CfsError (store), also if this is root and others may write to the cache */
function keep(path: string, bytes: Uint8Array): void {
  const [images, cache] = [dirname(path), dirname(dirname(path))];
  try {
    makeDirectory(cache);
    const root = StoreDirectory.at(cache);
    try {
      requireTrust(root);
      const directory = root.make(basename(images));
      try {
        requireTrust(directory);
        replaceIn(directory, basename(path), bytes);
      } finally {
        directory.close();
      }
    } finally {
      root.close();
    }
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw new CfsError('store', `Cannot write ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** The disk is not waited for: the next mount notices damage. */
function replaceIn(directory: StoreDirectory, name: string, bytes: Uint8Array): void {
  const temporary = `${name}.${randomBytes(6).toString('hex')}.tmp`;
  const fd = directory.create(temporary, 0o644);
  try {
    try {
      writeFileSync(fd, bytes);
    } finally {
      closeFd(fd);
    }
    directory.rename(temporary, directory, name);
  } catch (error) {
    directory.removeTree(temporary);
    throw error;
  }
}
