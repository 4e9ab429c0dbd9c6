/**
 * The space that directories of images need.
 * @module
 */
import { CfsError } from '../base/error.ts';
import { pathBytes, pathText, shownText } from '../base/path-text.ts';
import { listUsage, sharedObjects, directoryUsage as usageOf } from '../manifest/diff/directory-usage.ts';
import { isDirectory, lookupPath } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { type Image, openImage } from './image.ts';
import { IMAGE_TABLES } from './image-tables.ts';

/**
 * Options of `directoryUsage`.
 * @example
 * import { directoryUsage, type DirectoryUsageOptions } from '@cfs-images/cfs/usage';
 *
 * const options: DirectoryUsageOptions = { path: '/usr', depth: 2 };
 * for (const { path, total } of directoryUsage(['/srv/rootfs.cfs'], options)) console.log(path, total);
 */
export interface DirectoryUsageOptions {
  /** The directory to start with, in each image; default: the root. */
  readonly path?: string | Uint8Array;
  /** List directories to this depth below it; default: 1. */
  readonly depth?: number;
}

/**
 * The space of a directory, with all that is below it. Sizes are bytes.
 * @example
 * import { type DirectoryUsage, directoryUsage } from '@cfs-images/cfs/usage';
 *
 * const shared = ({ total, unique }: DirectoryUsage): number => total - unique;
 * console.log([...directoryUsage(['/srv/rootfs.cfs'])].map(shared));
 */
export interface DirectoryUsage {
  /** The index of the image in the given list. */
  readonly image: number;
  readonly path: string;
  readonly pathBytes: Uint8Array;
  readonly depth: number;
  /** The number of names below it. */
  readonly entries: number;
  /** The number of regular files, and their sizes; a file with several names counts once. */
  readonly files: number;
  readonly size: number;
  /** The bytes of their different contents. */
  readonly total: number;
  /** Of these, contents that no file outside of this directory has, in any of the images. */
  readonly unique: number;
}

/**
 * The space of the directories of images. Needs no repository. Synchronous: the work is done before the first
 * directory, a second for a million files.
 * @param images images, or their files. `unique` depends on all of them
 * @returns for each image its directories, the largest first, each before those in it
 * @throws CfsError: `image` if a file is not an image, `usage` if an image does not have the directory
 * @example
 * import { directoryUsage } from '@cfs-images/cfs/usage';
 *
 * const images = ['/srv/rootfs.cfs', '/srv/newer.cfs'];
 * for (const { image, path, total, unique } of directoryUsage(images)) console.log(images[image], path, total, unique);
 */
export function* directoryUsage(
  images: readonly (Image | string)[],
  { path = '/', depth = 1 }: DirectoryUsageOptions = {},
): Generator<DirectoryUsage, void, undefined> {
  const tables = images.map((image) =>
    IMAGE_TABLES.get(typeof image === 'string' ? openImage(image) : image),
  ) as ManifestTables[];
  const bytes = typeof path === 'string' ? pathBytes(path) : path;
  const starts = tables.map((each, i) => startOf(each, nameOf(images[i] as Image | string), bytes));
  const shared = sharedObjects(tables);
  for (const [image, each] of tables.entries()) {
    const sums = usageOf(each, shared[image] as Uint8Array);
    for (const found of listUsage(each, sums, starts[image] as number, absolute(bytes), depth)) {
      const { row: _, path: foundBytes, ...rest } = found;
      yield { image, path: pathText(foundBytes), pathBytes: foundBytes, ...rest };
    }
  }
}

const nameOf = (image: Image | string): string => (typeof image === 'string' ? image : image.path);

function startOf(tables: ManifestTables, image: string, path: Uint8Array): number {
  const row = lookupPath(tables, path);
  if (row >= 0 && isDirectory(tables, row)) return row;
  const reason = row < 0 ? 'there is none' : 'it is not a directory';
  throw new CfsError('usage', `Cannot find directory ${shownText(pathText(path))} in image ${image}: ${reason}`);
}

/** With one slash before each name, and none at the end. */
const absolute = (path: Uint8Array): Uint8Array =>
  Buffer.from(`/${Buffer.from(path).toString('latin1').split('/').filter(Boolean).join('/')}`, 'latin1');
