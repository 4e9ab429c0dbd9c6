/**
 * Pinned images of a cache: their objects, and the files of the images, are not deleted. A pin is the registration of
 * an image in the repository of its hash algorithm (src/store/gc/register.ts), so that gc keeps the objects, too.
 */
import { EACCES, errnoOf } from '../../base/errno.ts';
import { CfsError } from '../../base/error.ts';
import { digestsOfNames, mergeDigests } from '../gc/digest-merge.ts';
import { withLeases } from '../gc/leases.ts';
import type { KeepListFile } from '../gc/object-list-file.ts';
import { unregisterImage } from '../gc/register.ts';
import { openRootIfThere, registeredIds } from '../gc/roots.ts';
import type { LocalRepository } from '../local-repository.ts';
import type { CacheDirectory } from './cache-directory.ts';

export interface Pin {
  /** The id of the image. */
  readonly image: string;
  readonly repository: LocalRepository;
  /** Undefined if its list of objects cannot be read: then only the image file is kept. */
  readonly list: KeepListFile | undefined;
  readonly problem: string | undefined;
  /** This user may not read the list: that needs write permission on the cache. */
  readonly isDenied: boolean;
}

/** The pins of a cache at one time, and their open lists, which `close` closes. */
export class Pins {
  readonly all: readonly Pin[];
  /** The ids of their images, and of those whose pin was removed while it was opened. */
  readonly #ids: ReadonlySet<string>;

  private constructor(all: readonly Pin[], ids: ReadonlySet<string>) {
    this.all = all;
    this.#ids = ids;
  }

  /** @throws CfsError (store) if the pins of a repository cannot be listed */
  static open(cache: CacheDirectory): Pins {
    const images = cache.repositories.map((repository) => ({ repository, ids: registeredIds(repository) }));
    const all = images.flatMap(({ repository, ids }) => ids.flatMap((image) => pinOf(repository, image) ?? []));
    return new Pins(all, new Set(images.flatMap(({ ids }) => ids)));
  }

  /** Whether an image was pinned since. @throws CfsError (store) */
  areOld(cache: CacheDirectory): boolean {
    return cache.repositories.some((repository) => registeredIds(repository).some((image) => !this.#ids.has(image)));
  }

  has(image: string): boolean {
    return this.all.some((pin) => pin.image === image);
  }

  /** Why lists of objects cannot be read. */
  get problems(): readonly string[] {
    return this.all.flatMap(({ problem }) => problem ?? []);
  }

  /**
   * Finds the objects of a directory that are pinned.
   * @param prefix the first byte of their digests
   * @param names of objects, sorted
   * @param found called with each pin that needs the object, and the index of its name
   */
  find(
    repository: LocalRepository,
    prefix: number,
    names: readonly string[],
    found: (pin: Pin, index: number) => void,
  ): void {
    const own = this.all.filter((pin) => pin.repository === repository);
    if (own.length === 0 || names.length === 0) return;
    const digests = digestsOfNames(prefix, names);
    for (const pin of own) {
      if (pin.list !== undefined) mergeDigests(digests, pin.list.digests(prefix), (index) => found(pin, index));
    }
  }

  close(): void {
    for (const { list } of this.all) list?.close();
  }
}

/** Undefined if it was removed in the meantime. */
function pinOf(repository: LocalRepository, image: string): Pin | undefined {
  const about = { image, repository, isDenied: false };
  try {
    const list = openRootIfThere(repository, image);
    return list && { ...about, list, problem: undefined };
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    return { ...about, list: undefined, problem: error.message, isDenied: errnoOf(error.cause) === EACCES };
  }
}

/**
 * Removes a pin, also a damaged one. Hold the shared lock of the repository.
 * @returns false if the image is not pinned
 * @throws CfsError (store)
 */
export function unpin(repository: LocalRepository, image: string): boolean {
  if (!unregisterImage(repository, image)) return false;
  // mounts have no leases in a cache, and gc need not run there
  withLeases(repository, (leases, names) => {
    for (const name of names) if (name.startsWith(image)) leases.removeTree(name);
  });
  return true;
}
