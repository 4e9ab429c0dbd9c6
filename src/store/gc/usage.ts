/**
 * The space that each registered image needs in a repository. Takes no lock: a long packing would block it. So results
 * are those of a moment only if nothing is packed or deleted meanwhile.
 */
import { closeSync } from 'node:fs';
import { setImmediate as breathe } from 'node:timers/promises';
import { ENOENT, errnoOf } from '../../base/errno.ts';
import { CfsError, withHint } from '../../base/error.ts';
import { PREFIXES, prefixName } from '../layout.ts';
import type { LocalRepository } from '../local-repository.ts';
import { isRegular, type StoreDirectory } from '../store-directory.ts';
import { type Amount, BLOCK, count, type MutableAmount, nothing } from './amount.ts';
import { digestsOfNames, mergeDigests, objectNames } from './digest-merge.ts';
import { isLive, withLeases } from './leases.ts';
import { KeepListFile, readKeepHeader } from './object-list-file.ts';
import type { RegisteredPath } from './registered-paths.ts';
import { isRootLocked, openRootIfThere, pathsOfImages, registeredIds } from './roots.ts';

export interface ImageUsage {
  /** Its id. */
  readonly image: string;
  /** All paths that it was registered with. */
  readonly paths: readonly RegisteredPath[];
  /** Its objects that the repository has. */
  readonly total: Amount;
  /** Of these, objects that no other registered image needs. */
  readonly unique: Amount;
  /** What gc would delete if the image was not registered: of `unique`, objects that no mount and no lease keeps. */
  readonly freed: Amount;
  /** The number of its objects that the repository does not have. */
  readonly missing: number;
  /** A mount keeps its objects, also without the registration. */
  readonly isMounted: boolean;
}

export interface RepositoryUsage {
  /** By their ids. */
  readonly images: readonly ImageUsage[];
  /** Objects that registered images need, each counted once. */
  readonly together: Amount;
  /** Objects that only mounts, or images that were packed recently, need; no registered image. */
  readonly leased: Amount;
  /** Objects that nothing needs. */
  readonly unused: Amount;
  /** Lists of objects that cannot be read: what they need counts as needed by nothing. */
  readonly problems: readonly { readonly image: string; readonly problem: string }[];
}

export interface UsageOptions {
  /** Leases of images that were packed, and not registered, count up to this age. In milliseconds. */
  readonly minAgeMs: number;
  readonly signal?: AbortSignal;
  /** Receives the number of finished directories, of the 256. */
  readonly onProgress?: (directories: number) => void;
}

/**
 * Adds up the sizes of all objects, by the images that need them.
 * @throws CfsError (store) if the repository cannot be read; the reason of the signal
 */
export async function repositoryUsage(repository: LocalRepository, options: UsageOptions): Promise<RepositoryUsage> {
  const lists = new Lists(repository, options.minAgeMs);
  try {
    const sums = new Sums(lists);
    for (let prefix = 0; prefix < PREFIXES; prefix++) {
      if (options.signal?.aborted === true) throw options.signal.reason;
      repository.within(`objects/${prefixName(prefix)}`, (directory) => sums.add(prefix, directory));
      options.onProgress?.(prefix + 1);
      await breathe();
    }
    return { ...sums.result, problems: lists.problems };
  } catch (error) {
    throw repository.failure('count the objects', error);
  } finally {
    lists.close();
  }
}

interface RegisteredList {
  readonly image: string;
  readonly paths: readonly RegisteredPath[];
  readonly list: KeepListFile;
  readonly isMounted: boolean;
}

const ID_DIGITS = 64;

/** The lists of objects that are needed. */
class Lists {
  readonly registered: RegisteredList[] = [];
  readonly leased: KeepListFile[] = [];
  readonly problems: { readonly image: string; readonly problem: string }[] = [];

  constructor(repository: LocalRepository, minAgeMs: number) {
    try {
      const pathsOf = pathsOfImages(repository);
      for (const image of registeredIds(repository)) {
        this.#read(image, () => {
          const list = openRootIfThere(repository, image);
          if (list === undefined) return;
          const paths = pathsOf(image, list.header.path);
          this.registered.push({ image, paths, list, isMounted: isRootLocked(repository, image) });
        });
      }
      withLeases(repository, (directory, names) => {
        for (const name of names) {
          this.#read(name.slice(0, ID_DIGITS), () => {
            if (isNeeded(directory, name, minAgeMs)) {
              this.leased.push(KeepListFile.open(directory, name, repository.hash));
            }
          });
        }
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #read(image: string, read: () => void): void {
    try {
      read();
    } catch (error) {
      if (errnoOf(error) === ENOENT) return; // a lease that has ended
      if (!(error instanceof CfsError) || error.kind !== 'store') throw error;
      this.problems.push({ image, problem: withHint(error.message, error.hint) });
    }
  }

  close(): void {
    for (const { list } of this.registered) list.close();
    for (const list of this.leased) list.close();
  }
}

/**
 * Whether a lease keeps its objects. A mount locks its lease before it writes it: without the lock of the repository,
 * the lock of a lease that is not written yet is not examined, because that would be in the way of the mount.
 */
function isNeeded(leases: StoreDirectory, name: string, minAgeMs: number): boolean {
  const fd = leases.openFile(name);
  try {
    if (typeof readKeepHeader(fd) === 'string') return false;
  } finally {
    closeSync(fd);
  }
  return isLive(leases, name, minAgeMs);
}

/** Instead of the number of the only registered image that needs an object. */
const NO_IMAGE = -1;
const SEVERAL = -2;

class Sums {
  readonly #lists: Lists;
  readonly #images: readonly ImageSums[];
  readonly #together = nothing();
  readonly #leased = nothing();
  readonly #unused = nothing();

  constructor(lists: Lists) {
    this.#lists = lists;
    this.#images = lists.registered.map(() => new ImageSums());
  }

  /** Adds the objects in the directory of `prefix`. */
  add(prefix: number, directory: StoreDirectory): void {
    const { digests, bytes, diskBytes } = objectsIn(prefix, directory);
    const needing = new Int32Array(bytes.length).fill(NO_IMAGE);
    for (const [i, { list }] of this.#lists.registered.entries()) {
      const sums = this.#images[i] as ImageSums;
      mergeDigests(
        digests,
        list.digests(prefix),
        (row) => {
          needing[row] = needing[row] === NO_IMAGE ? i : SEVERAL;
          count(sums.total, bytes[row] as number, diskBytes[row] as number);
        },
        () => void sums.missing++,
      );
    }
    const isLeased = new Uint8Array(bytes.length);
    for (const list of this.#lists.leased) {
      mergeDigests(digests, list.digests(prefix), (row) => {
        isLeased[row] = 1;
      });
    }
    for (let row = 0; row < bytes.length; row++) {
      for (const amount of this.#amountsOf(needing[row] as number, isLeased[row] === 1)) {
        count(amount, bytes[row] as number, diskBytes[row] as number);
      }
    }
  }

  /** The sums that an object belongs to, except for the totals of images. */
  #amountsOf(needing: number, isLeased: boolean): readonly MutableAmount[] {
    if (needing === NO_IMAGE) return [isLeased ? this.#leased : this.#unused];
    if (needing === SEVERAL) return [this.#together];
    const { unique, freed } = this.#images[needing] as ImageSums;
    const isKept = isLeased || this.#lists.registered[needing]?.isMounted === true;
    return isKept ? [this.#together, unique] : [this.#together, unique, freed];
  }

  get result(): Omit<RepositoryUsage, 'problems'> {
    return {
      images: this.#lists.registered.map(({ image, paths, isMounted }, i) => {
        const { total, unique, freed, missing } = this.#images[i] as ImageSums;
        return { image, paths, total, unique, freed, missing, isMounted };
      }),
      together: this.#together,
      leased: this.#leased,
      unused: this.#unused,
    };
  }
}

class ImageSums {
  readonly total: MutableAmount = nothing();
  readonly unique: MutableAmount = nothing();
  readonly freed: MutableAmount = nothing();
  missing = 0;
}

interface Objects {
  /** 32 bytes each, ascending. */
  readonly digests: Uint8Array;
  readonly bytes: Float64Array;
  readonly diskBytes: Float64Array;
}

function objectsIn(prefix: number, directory: StoreDirectory): Objects {
  const names = objectNames(directory);
  const bytes = new Float64Array(names.length);
  const diskBytes = new Float64Array(names.length);
  const found: string[] = [];
  for (const name of names) {
    const stat = directory.stat(name);
    if (stat === undefined || !isRegular(stat)) continue; // deleted in the meantime, or not an object
    bytes[found.length] = stat.size;
    diskBytes[found.length] = stat.blocks * BLOCK;
    found.push(name);
  }
  const digests = digestsOfNames(prefix, found);
  return { digests, bytes: bytes.subarray(0, found.length), diskBytes: diskBytes.subarray(0, found.length) };
}
