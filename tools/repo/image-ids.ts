/**
 * Finds the registered image of an argument: an image file, a path that it was registered with, its id, or the
 * beginning of that.
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { CfsError } from '../../src/base/error.ts';
import { readImageId } from '../../src/image/image-file.ts';
import { firstPlace, ImageFinder, placeToRegister } from '../../src/image/registered-image.ts';
import { registeredIds, registeredPaths } from '../../src/store/gc/roots.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { shortId } from '../image-id.ts';
import { registeredPathText } from './registered-path.ts';

/** A registered image that was named. */
export interface NamedImage {
  readonly id: string;
  /** The path that it was named by; undefined if it was named by its id. */
  readonly path: string | undefined;
}

/** Ids that a message about an ambiguous one lists. */
const MOST_SHOWN = 10;

/** Fewer digits are not an id, but a mistyped word. */
const DIGITS: RegExp = /^[0-9a-f]{4,64}$/;

/**
 * The registered images that `word` names; several if a path was registered with one image after another, and no longer
 * exists. A file of the name takes precedence over an id: a file does not get such a name by accident.
 * @throws CfsError: `usage` if none is registered, or several ids begin with it; as `readImage` if the file is not an
 *   image
 */
export function namedImages(repository: LocalRepository, word: string): NamedImage[] {
  const isFile = isThere(word);
  const digits = word.toLowerCase();
  if (!isFile && DIGITS.test(digits)) return [{ id: idOfDigits(repository, digits), path: undefined }];
  const path = placeToRegister(word).path || resolve(word);
  const ids = registeredIds(repository);
  try {
    const id = readImageId(word);
    if (ids.includes(id)) return [{ id, path }];
    const others = withPath(repository, ids, path);
    throw new CfsError(
      'usage',
      `image ${id} is not registered in ${repository.path}; ${others.length > 0 ? `with this path ${others.join(', ')} is; unregister that by its id` : "'cfs-repo images' lists the registered ones"}`,
    );
  } catch (error) {
    if (!(error instanceof CfsError) || error.kind === 'usage') throw error;
    // deleted, or damaged
    const found = withPath(repository, ids, path).map((id) => ({ id, path }));
    if (found.length > 0) return found;
    if (isFile) throw error;
    throw new CfsError(
      error.kind,
      `${error.message}, and no image is registered with this path in ${repository.path}; 'cfs-repo images' lists paths and ids`,
      { hint: error.hint, cause: error },
    );
  }
}

function isThere(word: string): boolean {
  try {
    return statSync(word, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

const withPath = (repository: LocalRepository, ids: readonly string[], path: string): string[] =>
  ids.filter((id) => registeredPaths(repository, id).paths.some((registered) => registered.path === path));

function idOfDigits(repository: LocalRepository, digits: string): string {
  const found = registeredIds(repository).filter((id) => id.startsWith(digits));
  if (found.length === 1) return found[0] as string;
  if (found.length > 1) {
    const list = found.slice(0, MOST_SHOWN).join(', ');
    const others = found.length > MOST_SHOWN ? ` and ${found.length - MOST_SHOWN} more` : '';
    throw new CfsError(
      'usage',
      `the ids of ${found.length} images begin with ${digits}: ${list}${others}. Give more digits.`,
    );
  }
  const what = digits.length === 64 ? `image ${digits} is not` : `no image whose id begins with ${digits} is`;
  throw new CfsError('usage', `${what} registered in ${repository.path}; 'cfs-repo images' lists the registered ones`);
}

/**
 * The file of an image that is given by its path, or by the id with which one of the repositories has registered it, or
 * the beginning of that.
 * @throws CfsError: `usage` if several ids begin with it, `image` if the registered image is at none of its paths
 */
export function imageFile(repositories: readonly LocalRepository[], word: string): string {
  const digits = word.toLowerCase();
  if (!DIGITS.test(digits) || isThere(word)) return word;
  const repository = repositories.find((each) => registeredIds(each).some((id) => id.startsWith(digits)));
  if (repository === undefined) return word; // the error of reading it names the path
  const id = idOfDigits(repository, digits);
  const found = new ImageFinder().look(registeredPaths(repository, id).paths, id);
  const path = firstPlace(found);
  if (path !== undefined) return path;
  const where = found.length === 0 ? 'its path is unknown' : found.map(registeredPathText).join(', ');
  throw new CfsError('image', `Cannot read image ${shortId(id)}, registered in ${repository.path}: ${where}`);
}
