/** Images that a URL names: `cfs-mount https://HOST/PATH#NAME MOUNTPOINT`. */
import { randomBytes } from 'node:crypto';
import { fstatSync, futimesSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { toHex } from '../../src/base/bytes.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { splitImage } from '../../src/image/image-parts.ts';
import type { RemoteOptions } from '../../src/mount/options.ts';
import { parseRemoteAddress } from '../../src/remote/remote-url.ts';
import type { TrustedKey } from '../../src/sign/keys.ts';
import { cachedImage } from '../../src/store/cache/cache-directory.ts';
import { keepInUse } from '../../src/store/cache/image-use.ts';
import { StoreDirectory } from '../../src/store/store-directory.ts';
import { requireTrust } from '../../src/store/trust.ts';
import { closeFd } from '../../src/system/descriptors.ts';
import { makeDirectory } from '../../src/system/durable-file.ts';

const CONNECTIONS = 1;

export interface LocalImage {
  /** The image file in the cache. */
  readonly path: string;
  readonly id: string;
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
 * @param keys one of these must have signed it; none: no signature is needed
 * @throws CfsError: `image` if it is not there, malformed or not signed; `store` if no server answers, or the cache
 *   cannot be written
 */
export async function fetchImage(
  word: string,
  { cache, insecure, cacert }: RemoteOptions,
  keys: readonly TrustedKey[],
): Promise<LocalImage> {
  const address = parseRemoteAddress(word, insecure);
  const place = (id: string): LocalImage => ({ path: cachedImage(cache, id), id });
  if (address.id !== undefined && isHeld(place(address.id))) return place(address.id);
  const { RemoteRepository } = await import('../../src/transfer/remote-repository.ts');
  const remote = await RemoteRepository.open(address, { connections: CONNECTIONS, cacert });
  try {
    const image = place(await remote.imageId());
    if (isHeld(image)) return image;
    const { bytes } = await remote.image(image.id, keys.length === 0 ? undefined : keys);
    keep(image.path, bytes);
    // others may delete it at once; then the mount reports that it is gone
    isHeld(image);
    return image;
  } finally {
    await remote.close();
  }
}

/**
 * Whether the cache has the image, undamaged. If so, it is not deleted until this process ends: by then a mount has it
 * in use.
 */
function isHeld({ path, id }: LocalImage): boolean {
  try {
    const images = StoreDirectory.at(dirname(path));
    try {
      const fd = images.openFile(basename(path));
      if (keepInUse(fd) && toHex(splitImage(readFileSync(fd)).digest) === id) {
        noteUse(fd);
        return true;
      }
      closeFd(fd);
      return false;
    } finally {
      images.close();
    }
  } catch {
    return false; // it is fetched, and replaced
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
