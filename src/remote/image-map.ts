import { CfsError } from '../base/error.ts';
import { decodeMap, mapLimit, type ObjectMap } from './map-format.ts';
import { type Mirrors, UnavailableError } from './mirrors.ts';
import type { ImageObjects } from './object-fetch.ts';
import { expand } from './remote-files.ts';
import { mapName } from './tree-names.ts';

/**
 * Where the objects of an image are; undefined if the repository has no map of it: then each is a file.
 * @param id 64 hexadecimal digits
 * @throws UnavailableError; the reason of the signal
 */
export async function fetchMap(
  mirrors: Mirrors,
  id: string,
  { hash, sizes }: Pick<ImageObjects, 'hash' | 'sizes'>,
  signal?: AbortSignal,
): Promise<ObjectMap | undefined> {
  const limit = mapLimit(sizes);
  const image = Buffer.from(id, 'hex');
  let map: ObjectMap | undefined;
  const check = (compressed: Buffer): string | undefined => {
    const bytes = expand(compressed, limit);
    if (bytes === undefined) return 'it is damaged';
    try {
      map = decodeMap(bytes, { hash, image, sizes });
      return undefined;
    } catch (error) {
      if (error instanceof CfsError) return error.message;
      throw error;
    }
  };
  try {
    await mirrors.fetch(mapName(id), { most: limit, signal, check });
    return map;
  } catch (error) {
    if (error instanceof UnavailableError && error.isAbsent) return undefined;
    throw error;
  }
}
