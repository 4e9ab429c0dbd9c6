/** The map of an image in a remote repository, which says where its objects are. */
import { CfsError } from '../base/error.ts';
import { decodeMap, mapLimit, type ObjectMap } from './map-format.ts';
import { type Mirrors, UnavailableError } from './mirrors.ts';
import type { ImageObjects } from './object-fetch.ts';
import { expand } from './remote-files.ts';
import { mapName } from './tree-names.ts';

/**
 * A map as it is stored.
 * @param id 64 hexadecimal digits
 * @throws CfsError (store) if it is damaged
 */
export function storedMap(
  id: string,
  stored: Uint8Array,
  { hash, sizes }: Pick<ImageObjects, 'hash' | 'sizes'>,
): ObjectMap {
  const bytes = expand(stored, mapLimit(sizes));
  if (bytes === undefined) throw new CfsError('store', 'it is damaged');
  return decodeMap(bytes, { hash, image: Buffer.from(id, 'hex'), sizes });
}

/**
 * Where the objects of an image are; undefined if the repository has no map of it: then each is a file.
 * @param id 64 hexadecimal digits
 * @throws UnavailableError; the reason of the signal
 */
export async function fetchMap(
  mirrors: Mirrors,
  id: string,
  image: Pick<ImageObjects, 'hash' | 'sizes'>,
  signal?: AbortSignal,
): Promise<ObjectMap | undefined> {
  let map: ObjectMap | undefined;
  const check = (compressed: Buffer): string | undefined => {
    try {
      map = storedMap(id, compressed, image);
      return undefined;
    } catch (error) {
      if (error instanceof CfsError) return error.message;
      throw error;
    }
  };
  try {
    await mirrors.fetch(mapName(id), { most: mapLimit(image.sizes), signal, check });
    return map;
  } catch (error) {
    if (error instanceof UnavailableError && error.isAbsent) return undefined;
    throw error;
  }
}
