/** Deletes from the directory of a remote repository the files that no name of an image there leads to. */
import { closeSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { oneLine } from '../base/bytes.ts';
import type { HashAlgorithm } from '../base/digest.ts';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { decodeImage } from '../image/image-file.ts';
import { objectDigest, objectSizes } from '../manifest/lookup.ts';
import { objectCount } from '../manifest/tables.ts';
import { storedMap } from '../remote/image-map.ts';
import { ALONE, mapLimit } from '../remote/map-format.ts';
import { hashOfMeta, IMAGE_LIMIT, META_LIMIT } from '../remote/remote-files.ts';
import { UNFINISHED_NAME } from '../remote/remote-url.ts';
import { decodeRef, imageName, META_NAME, mapName, objectFile, packName, REF_LIMIT } from '../remote/tree-names.ts';
import { OBJECT_NAME } from '../store/layout.ts';
import { isDirectory, isRegular, StoreDirectory } from '../store/store-directory.ts';
import { requireTrust } from '../store/trust.ts';
import { storedImage } from './stored-image.ts';

export interface PruneOptions {
  /** Files that were written, or found by a push, within this time are kept. */
  readonly minAgeMs: number;
  /** Delete nothing. */
  readonly dryRun: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Called for each file that is deleted, or would be. */
  readonly onFreed?: ((name: string, bytes: number) => void) | undefined;
}

export interface FileAmount {
  readonly files: number;
  readonly bytes: number;
}

export interface Pruned {
  readonly path: string;
  /** Names in `refs`, and the images that they lead to. */
  readonly names: number;
  readonly images: number;
  readonly kept: FileAmount;
  /** Files among these that are kept only because of their age. */
  readonly young: FileAmount;
  readonly freed: FileAmount;
}

/**
 * Files that may be deleted, by their directories: nothing else is touched. Files that lead to others come first, so
 * that a reader finds all or nothing.
 */
const DELETABLE: Readonly<Record<string, RegExp>> = {
  maps: /^[0-9a-f]{64}\.zst$/,
  images: /^[0-9a-f]{64}\.zst$/,
  packs: /^[0-9a-f]{64}$/,
};
const PREFIX = /^[0-9a-f]{2}$/;
/** Directories of names within each other. */
const DEPTH = 100;

/**
 * Keeps what the images need that names lead to, and deletes the rest. Nothing is deleted if that cannot be decided: a
 * name, an image or a map is damaged.
 * @param path the directory that pushes write to
 * @throws CfsError: `store`; the reason of the signal
 */
export async function pruneTree(path: string, options: PruneOptions): Promise<Pruned> {
  const absolute = resolve(path);
  try {
    const root = StoreDirectory.at(absolute);
    try {
      return await new Pruning(root, absolute, options).run();
    } finally {
      root.close();
    }
  } catch (error) {
    if (error instanceof CfsError || errnoOf(error) === undefined) throw error;
    throw problem(absolute, reasonOf(error));
  }
}

const problem = (path: string, reason: string, hint?: string): CfsError =>
  new CfsError('store', `Cannot prune ${path}: ${reason}`, { hint });

class Pruning {
  readonly #root: StoreDirectory;
  readonly #path: string;
  readonly #options: PruneOptions;
  /** Files with a modification time in milliseconds after this are young. */
  readonly #limit: number;
  readonly #kept = { files: 0, bytes: 0 };
  readonly #young = { files: 0, bytes: 0 };
  readonly #freed = { files: 0, bytes: 0 };

  constructor(root: StoreDirectory, path: string, options: PruneOptions) {
    this.#root = root;
    this.#path = path;
    this.#options = options;
    this.#limit = Date.now() - options.minAgeMs;
  }

  async run(): Promise<Pruned> {
    if (!this.#options.dryRun) requireTrust(this.#root);
    const meta = this.#read(META_NAME, META_LIMIT);
    const hash = meta && hashOfMeta(meta);
    if (hash === undefined) throw this.#problem('it has no meta.json of a repository');
    const names = this.#names();
    if (names.size === 0) throw this.#problem('there is no name in refs, so all would be deleted');
    const ids = new Set(names.values());
    const needed = new Set<string>();
    for (const id of ids) await this.#addNeeded(id, hash, needed);
    for (const [directory, names] of Object.entries(DELETABLE)) await this.#sweep(directory, names, needed);
    // those of a local repository are for its own gc
    if (this.#root.stat('lock') === undefined) await this.#sweepObjects(needed);
    const amounts = { kept: this.#kept, young: this.#young, freed: this.#freed };
    return { path: this.#path, names: names.size, images: ids.size, ...amounts };
  }

  #problem(reason: string): CfsError {
    return problem(this.#path, reason);
  }

  async #turn(): Promise<void> {
    await setImmediate();
    this.#options.signal?.throwIfAborted();
  }

  /** Undefined if there is none. */
  #read(name: string, most: number): Uint8Array | undefined {
    const stat = this.#root.stat(name);
    if (stat === undefined) return undefined;
    if (!isRegular(stat) || stat.size > most) throw this.#problem(`${name} is not a file that belongs here`);
    const fd = this.#root.openFile(name);
    try {
      return readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** The names of images, and their ids. */
  #names(): ReadonlyMap<string, string> {
    const names = new Map<string, string>();
    const visit = (name: string, depth: number): void => {
      const stat = this.#root.stat(name);
      if (stat === undefined) return;
      if (isDirectory(stat) && depth < DEPTH) {
        const directory = this.#root.open(name);
        const below = directory.names();
        directory.close();
        for (const each of below) visit(`${name}/${each}`, depth + 1);
      } else if (depth > 0 && !UNFINISHED_NAME.test(name)) {
        const bytes = this.#read(name, REF_LIMIT);
        if (bytes !== undefined)
          names.set(
            name,
            this.#checked(name, () => decodeRef(bytes).image),
          );
      }
    };
    visit('refs', 0);
    return names;
  }

  #checked<T>(name: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      throw this.#problem(`${oneLine(name)}: ${error.message}`);
    }
  }

  /** The files that readers of an image need. */
  async #addNeeded(id: string, hash: HashAlgorithm, needed: Set<string>): Promise<void> {
    await this.#turn();
    const name = imageName(id);
    const stored = this.#read(name, IMAGE_LIMIT);
    if (stored === undefined) throw this.#problem(`a name leads to image ${id}, and there is no ${name}`);
    const tables = this.#checked(name, () => decodeImage(id, storedImage(id, stored).parts));
    needed.add(name);
    const sizes = objectSizes(tables);
    const compressed = this.#read(mapName(id), mapLimit(sizes));
    const frameOf = new Uint32Array(objectCount(tables)).fill(ALONE);
    if (compressed !== undefined) {
      const map = this.#checked(mapName(id), () => storedMap(id, compressed, { hash, sizes }));
      needed.add(mapName(id));
      for (const { digest } of map.packs) needed.add(packName(digest));
      frameOf.set(map.frameOf);
    }
    frameOf.forEach((frame, row) => {
      if (frame !== ALONE) return;
      const file = objectFile(objectDigest(tables, row));
      needed.add(file);
      if (compressed !== undefined || this.#isFile(file)) return;
      throw this.#problem(`there is neither ${mapName(id)} nor ${file}, which image ${id} needs`);
    });
  }

  #isFile(name: string): boolean {
    const stat = this.#root.stat(name);
    return stat !== undefined && isRegular(stat);
  }

  async #sweepObjects(needed: ReadonlySet<string>): Promise<void> {
    const stat = this.#root.stat('objects');
    if (stat === undefined || !isDirectory(stat)) return;
    const directory = this.#root.open('objects');
    const prefixes = directory.names().filter((name) => PREFIX.test(name));
    directory.close();
    for (const prefix of prefixes) await this.#sweep(`objects/${prefix}`, OBJECT_NAME, needed);
  }

  async #sweep(name: string, deletable: RegExp, needed: ReadonlySet<string>): Promise<void> {
    const stat = this.#root.stat(name);
    if (stat === undefined || !isDirectory(stat)) return;
    const directory = this.#root.open(name);
    try {
      for (const file of directory.names()) {
        if (!deletable.test(file.replace(UNFINISHED_NAME, ''))) continue;
        await this.#turn();
        this.#decide(directory, name, file, needed);
      }
    } finally {
      directory.close();
    }
  }

  #decide(directory: StoreDirectory, below: string, file: string, needed: ReadonlySet<string>): void {
    const stat = directory.stat(file);
    if (stat === undefined || !isRegular(stat)) return;
    const { size, mtime, mtimeNsec } = stat;
    const isNeeded = needed.has(`${below}/${file}`);
    const isYoung = mtime * 1000 + mtimeNsec / 1_000_000 > this.#limit;
    if (isNeeded || isYoung) {
      count(this.#kept, size);
      if (!isNeeded) count(this.#young, size);
      return;
    }
    if (!this.#options.dryRun && !unlinked(directory, file)) return;
    count(this.#freed, size);
    this.#options.onFreed?.(`${below}/${file}`, size);
  }
}

/** False if another run has deleted it. */
function unlinked(directory: StoreDirectory, file: string): boolean {
  try {
    directory.unlink(file);
    return true;
  } catch (error) {
    if (errnoOf(error) === ENOENT) return false;
    throw error;
  }
}

function count(amount: { files: number; bytes: number }, size: number): void {
  amount.files++;
  amount.bytes += size;
}
