/** Finds the files of images that have an object as their content: for people, who do not know objects. */
import { compareBytes, fromHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import { objectDigest, objectOf, walkTree } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import { readImage } from './image-file.ts';

/** A file in an image. */
export interface ObjectUser {
  /** The image's path. */
  readonly image: string;
  /** In the image, from its root; bytes. */
  readonly file: Uint8Array;
}

export interface ObjectUsers {
  /** The first of them, in the order of the images and their trees. */
  readonly first: readonly ObjectUser[];
  /** How many paths there are. */
  readonly count: number;
}

/** At most this many paths are kept per object. */
const SOME = 10;

/**
 * Reads each image once, one after another, and skips those that cannot be read.
 * @param objects 64 hexadecimal digits each
 * @param images their paths
 */
export function usersOfObjects(
  objects: readonly string[],
  images: readonly string[],
): ReadonlyMap<string, ObjectUsers> {
  const users = new Map<string, { first: ObjectUser[]; count: number }>();
  for (const image of objects.length === 0 ? [] : images) {
    const tables = tablesOf(image);
    if (tables === undefined) continue;
    const rows = new Map(objects.map((object) => [rowOfObject(tables, fromHex(object)), object] as const));
    rows.delete(-1);
    if (rows.size === 0) continue;
    walkTree(tables, ({ row, path }) => {
      const object = rows.get(objectOf(tables, row));
      if (object === undefined) return;
      const known = users.get(object) ?? { first: [], count: 0 };
      if (known.count++ < SOME) known.first.push({ image, file: Uint8Array.from(path) });
      users.set(object, known);
    });
  }
  return users;
}

function tablesOf(image: string): ManifestTables | undefined {
  try {
    return readImage(image).tables;
  } catch (error) {
    if (error instanceof CfsError) return undefined;
    throw error;
  }
}

/** -1 if the image does not name it. */
export function rowOfObject(tables: ManifestTables, digest: Uint8Array): number {
  let [low, high] = [0, objectCount(tables) - 1];
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const order = compareBytes(objectDigest(tables, middle), digest);
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}
