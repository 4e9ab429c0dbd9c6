/**
 * The live set, which keeps objects from being deleted: registered images, leases of mounts, and images that the caller
 * names.
 */
import { DIGEST_SIZE } from '../../base/digest.ts';
import { CfsError, callText, reasonOf } from '../../base/error.ts';
import type { LocalRepository } from '../local-repository.ts';
import type { StoreDirectory } from '../store-directory.ts';
import { isLive, type LeaseKind, leaseKind, withLeases } from './leases.ts';
import { narrowList } from './new-object-list.ts';
import { KeepListFile } from './object-list-file.ts';
import { isRootLocked, openRootIn, registeredPaths } from './roots.ts';

/** Digests in ascending order, without duplicates, by first byte. */
export interface KeptDigests {
  /** 32 bytes each. */
  digests(prefix: number): Uint8Array;
}

/** Digests in memory. */
export class KeptInMemory implements KeptDigests {
  readonly #all: Uint8Array;

  /** @param all 32 bytes each, ascending */
  constructor(all: Uint8Array) {
    this.#all = all;
  }

  digests(prefix: number): Uint8Array {
    return this.#all.subarray(this.#firstOf(prefix) * DIGEST_SIZE, this.#firstOf(prefix + 1) * DIGEST_SIZE);
  }

  /** The index of the first digest whose first byte is not below `prefix`. */
  #firstOf(prefix: number): number {
    let [low, high] = [0, this.#all.length / DIGEST_SIZE];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#all[middle * DIGEST_SIZE] as number) < prefix) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The number of each kind. */
export interface KeeperCounts {
  readonly registered: number;
  /** Leases that mounts hold, and registered images that are mounted, each counted once. */
  readonly mounted: number;
  /** Images that were packed recently and not registered. */
  readonly packed: number;
  /** Leases of dead mounts, deleted here. */
  readonly dead: number;
}

/** An image that keeps objects. */
export interface Keeper {
  /** Its id. */
  readonly image: string;
  readonly kind: Kept['kind'];
  /** It is both registered and mounted. */
  readonly isMounted: boolean;
  readonly objects: number;
  readonly bytes: number;
  /** The path in its list; empty if it is in separate records (registered-paths.ts), or unknown. */
  readonly path: string;
}

interface Kept {
  readonly list: KeepListFile;
  readonly kind: 'registered' | LeaseKind;
}

export class Keepers {
  readonly #repository: LocalRepository;
  readonly #named: readonly KeptDigests[];
  readonly #minAgeMs: number;
  readonly #dryRun: boolean;
  /** By path and inode number. */
  readonly #kept = new Map<string, Kept>();
  readonly #dead = new Set<string>();

  /**
   * @param named images that the caller names
   * @param minAgeMs the age after which a list without a lock does not count
   * @param dryRun delete no lists
   */
  constructor(repository: LocalRepository, named: readonly KeptDigests[], minAgeMs: number, dryRun: boolean) {
    this.#repository = repository;
    this.#named = named;
    this.#minAgeMs = minAgeMs;
    this.#dryRun = dryRun;
  }

  /**
   * Reads lists that are new since the last call, and deletes leases that no mount holds. A list that was read once
   * counts to the end. Hold the exclusive lock: otherwise a mount may be about to lock its lease.
   * @throws CfsError (store) if a list is malformed or cannot be read: then nothing may be deleted
   */
  refresh(): void {
    const { hash, lockers } = this.#repository;
    this.#repository.withNames('roots', (directory, names) => {
      for (const name of names) {
        if (!this.#dryRun) narrowList(directory, name, lockers);
        this.#refresh(directory, name, true, () => ({
          list: openRootIn(directory, name, hash),
          kind: 'registered',
        }));
      }
    });
    withLeases(this.#repository, (directory, names) => {
      for (const name of names) this.#refresh(directory, name, false, () => this.#openLease(directory, name));
    });
  }

  /** Reads a list, unless the file is unchanged: reading one of a million objects takes half a second. */
  #refresh(directory: StoreDirectory, name: string, isRoot: boolean, open: () => Kept | undefined): void {
    const path = `${directory.path}/${name}`;
    const advice = (): string => (isRoot ? adviceOfRoot(this.#repository, name) : ADVICE_OF_LEASE);
    orRefuse(path, advice, () => {
      const stat = directory.stat(name);
      const key = `${path} ${stat?.inodeHigh} ${stat?.inodeLow}`;
      if (this.#kept.has(key)) return;
      const kept = open();
      if (kept !== undefined) this.#kept.set(key, kept);
    });
  }

  /** Undefined if no mount holds the lease any more. */
  #openLease(directory: StoreDirectory, name: string): Kept | undefined {
    if (isLive(directory, name, this.#minAgeMs)) {
      const list = KeepListFile.open(directory, name, this.#repository.hash);
      return { list, kind: leaseKind(name) };
    }
    this.#dead.add(name);
    if (!this.#dryRun) directory.unlink(name);
    return undefined;
  }

  /** Hold the exclusive lock. */
  get counts(): KeeperCounts {
    const keepers = this.keepers;
    const count = (wanted: Kept['kind']): number => keepers.filter(({ kind }) => kind === wanted).length;
    return {
      registered: count('registered'),
      mounted: keepers.filter(({ isMounted }) => isMounted).length,
      packed: count('packed'),
      dead: this.#dead.size,
    };
  }

  /** All except those that the caller names, roots first, by their ids. Hold the exclusive lock. */
  get keepers(): Keeper[] {
    return [...this.#kept.values()].map(({ kind, list }) => {
      const { image, objects, bytes, path } = list.header;
      const isMounted = kind === 'mounted' || (kind === 'registered' && isRootLocked(this.#repository, image));
      return { image, kind, isMounted, objects, bytes, path };
    });
  }

  /** True if no list is known that needs an object: everything would be deleted. */
  get isEmpty(): boolean {
    return this.#named.length + this.#kept.size === 0;
  }

  /** The objects that each list needs, of those whose digests begin with `prefix`. */
  *needed(prefix: number): Generator<Uint8Array> {
    for (const named of this.#named) yield named.digests(prefix);
    for (const { list } of this.#kept.values()) yield list.digests(prefix);
  }

  close(): void {
    for (const { list } of this.#kept.values()) list.close();
    this.#kept.clear();
  }
}

/** Nothing may be deleted if the needed objects are unknown. */
function orRefuse<T>(path: string, advice: () => string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const reason = error instanceof CfsError ? error.message : `${path}: ${reasonOf(error)}`;
    const own = error instanceof CfsError && error.hint !== undefined ? [error.hint] : [];
    const hint = [...own, advice()].join(' ');
    throw new CfsError('store', `Nothing more is deleted: ${reason}`, { hint, cause: error });
  }
}

const ADVICE_OF_LEASE =
  'A mount may be about to write it: try again. If nothing mounts this repository, delete the file.';

function adviceOfRoot(repository: LocalRepository, name: string): string {
  const [path, ...more] = pathsOfRoot(repository, name);
  const others = more.length > 0 ? ` (+${more.length} more)` : '';
  const what = path === undefined ? '' : `It lists the objects of ${path}${others}. `;
  const again = path === undefined ? '`registerImage`' : callText('registerImage', repository.path, path);
  return `${what}Register the image again (${again}), or take it off the list (\`unregisterImage\`).`;
}

/** Empty if the paths are unknown. */
function pathsOfRoot(repository: LocalRepository, name: string): string[] {
  try {
    return registeredPaths(repository, name).paths.flatMap(({ path }) => (path === '' ? [] : [path]));
  } catch {
    return [];
  }
}
