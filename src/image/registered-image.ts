/**
 * Composition: registered images at the paths that the store has for them. The result decides which paths
 * `unregister --gone` removes, so a path that cannot be examined does not count as gone.
 */
import { closeSync, constants, openSync, readdirSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ENOENT, ENOTDIR, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { RegisteredPath } from '../store/gc/registered-paths.ts';
import { isSamePlace, type PathPlace, placeOfPath } from '../system/path-place.ts';
import { readImage, readImageId } from './image-file.ts';

/**
 * The state of the path of a registered image.
 * - there: the image
 * - moved: nothing or another file; but the image is in the same directory, under another name
 * - gone: nothing, and the file system is the one that the image was on
 * - replaced: another image
 * - damaged: a file that is not an image (any more)
 * - unknown: it cannot be examined, or no path is known
 */
export type PathState = 'there' | 'moved' | 'gone' | 'replaced' | 'damaged' | 'unknown';

export interface FoundPath {
  /** As it was registered; empty if unknown. */
  readonly path: string;
  readonly state: PathState;
  /** The path that it was moved to. */
  readonly now?: string;
  /** The id of the image that has taken its place. */
  readonly other?: string;
  /** Why it is damaged or unknown. */
  readonly reason?: string;
}

/** Whether the image is no longer needed at this path. */
export const isGone = ({ state }: FoundPath): boolean => state === 'gone' || state === 'replaced';

/** The path at which the image is now; undefined if it is not found. */
export const placeNow = ({ state, path, now }: FoundPath): string | undefined =>
  state === 'there' || state === 'moved' ? (now ?? path) : undefined;

/** The first path at which the image is now. */
export const firstPlace = (found: readonly FoundPath[]): string | undefined =>
  found.map(placeNow).find((path) => path !== undefined);

/**
 * The path that an image is registered with. Symbolic links are resolved now: they may change later. The path of a
 * descriptor is not used: tomorrow it may be another file's.
 * @param image may not exist yet
 */
export function placeToRegister(image: string): { readonly path: string; readonly place: PathPlace | undefined } {
  try {
    const path = statSync(image, { throwIfNoEntry: false }) === undefined ? realOfNew(image) : realpathSync(image);
    // for a deleted file /proc reports a path that does not exist
    const isThere = !path.startsWith('/proc/') && (!image.startsWith('/dev/') || isSameFile(image, path));
    if (isThere) return { path, place: placeOfPath(path) };
  } catch {
    // unknown: it is kept wherever it is
  }
  return { path: '', place: undefined };
}

const realOfNew = (image: string): string => join(realpathSync(dirname(resolve(image))), basename(resolve(image)));

function isSameFile(a: string, b: string): boolean {
  const [one, other] = [statSync(a), statSync(b)];
  return one.dev === other.dev && one.ino === other.ino;
}

/** The first bytes of every image: the tag of CBOR. */
const BEGINNING: Uint8Array = Uint8Array.of(0xd9, 0xd9, 0xf7);
/** Temporary files that a killed run leaves beside an image. */
const UNFINISHED = /\.[0-9a-f]{12}\.tmp$/;

/** Examines the paths of registered images; reads each file and each directory once. */
export class ImageFinder {
  readonly #ids = new Map<string, string>();
  readonly #directories = new Map<string, ReadonlyMap<string, readonly string[]> | undefined>();

  /**
   * The states of an image's paths, in their order.
   * @param image the id that it was registered with
   */
  look(paths: readonly RegisteredPath[], image: string): FoundPath[] {
    const known = new Set(paths.map(({ path }) => path));
    return paths.map((path) => {
      const found = this.#lookAt(path, image);
      return isGone(found) ? this.#lookBeside(found, image, known) : found;
    });
  }

  #lookBeside(found: FoundPath, image: string, known: ReadonlySet<string>): FoundPath {
    const { path } = found;
    const beside = this.#imagesIn(dirname(path));
    if (beside === undefined) return { path, state: 'unknown', reason: `${dirname(path)} cannot be read` };
    const now = beside.get(image) ?? [];
    // another path of the image is reported by its own entry
    if (now.length === 0 || now.some((other) => known.has(other))) return found;
    return { path, state: 'moved', now: now[0] as string };
  }

  /** As `isGone`, now, and without scanning the directory. */
  static isStillGone(path: RegisteredPath, image: string): boolean {
    return isGone(new ImageFinder().#lookAt(path, image));
  }

  #lookAt({ path, place }: RegisteredPath, image: string): FoundPath {
    if (path === '') return { path, state: 'unknown', reason: 'it is kept wherever it is' };
    try {
      const id = this.#idOf(path);
      if (id === image) return { path, state: 'there' };
      // a damaged file has another id, too
      readImage(path);
      return { path, state: 'replaced', other: id };
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      const errno = errnoOf(error.cause);
      if (errno === ENOENT || errno === ENOTDIR) return absent(path, place);
      const isReadable = error.kind === 'image' && errno === undefined;
      return { path, state: isReadable ? 'damaged' : 'unknown', reason: error.message };
    }
  }

  #idOf(path: string): string {
    const id = this.#ids.get(path) ?? readImageId(path);
    this.#ids.set(path, id);
    return id;
  }

  /** Their paths by their ids; undefined if the directory cannot be read. */
  #imagesIn(directory: string): ReadonlyMap<string, readonly string[]> | undefined {
    const known = this.#directories.get(directory);
    if (known !== undefined || this.#directories.has(directory)) return known;
    const images = this.#readImages(directory);
    this.#directories.set(directory, images);
    return images;
  }

  #readImages(directory: string): ReadonlyMap<string, readonly string[]> | undefined {
    const images = new Map<string, string[]>();
    let names: string[];
    try {
      names = readdirSync(directory).sort();
    } catch (error) {
      return [ENOENT, ENOTDIR].includes(errnoOf(error) ?? ENOENT) ? images : undefined;
    }
    for (const name of names) {
      const path = join(directory, name);
      if (UNFINISHED.test(name) || !beginsAsImage(path)) continue;
      try {
        const id = this.#idOf(path);
        images.set(id, [...(images.get(id) ?? []), realpathSync(path)]);
      } catch {
        // damaged, or deleted in the meantime: it belongs to no image
      }
    }
    return images;
  }
}

/** Nothing exists at the path; but that means nothing if its file system is not mounted. */
function absent(path: string, place: PathPlace | undefined): FoundPath {
  const unknown = (reason: string): FoundPath => ({ path, state: 'unknown', reason });
  try {
    if (place !== undefined) {
      if (isSamePlace(place, placeOfPath(path))) return { path, state: 'gone' };
      return unknown(`its file system, at ${place.mountpoint || '?'}, is not mounted here now`);
    }
    if (statSync(dirname(path), { throwIfNoEntry: false }) !== undefined) return { path, state: 'gone' };
    return unknown(`there is no directory ${dirname(path)}`);
  } catch (error) {
    return unknown(reasonOf(error));
  }
}

/** Large files of other kinds are not read. */
function beginsAsImage(path: string): boolean {
  try {
    if (!statSync(path).isFile()) return false;
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const bytes = Buffer.alloc(BEGINNING.length);
      return readSync(fd, bytes, 0, bytes.length, 0) === bytes.length && bytes.equals(BEGINNING);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}
