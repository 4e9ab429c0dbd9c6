/** Sealing the objects of a repository with fs-verity. */
import { fromHex, toHex } from '../base/bytes.ts';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { checkMeasured } from '../objects/verify.ts';
import { closeFd } from '../system/descriptors.ts';
import { syncfs } from '../system/file-calls.ts';
import { errnoText } from '../system/libc.ts';
import { OBJECT_MODE, OBJECT_NAME } from './layout.ts';
import type { LocalRepository } from './local-repository.ts';
import { lockForWriting } from './lock.ts';
import { type SealedFile, sealFile, type Unsealed, type Verity } from './seal-file.ts';

export interface SealOptions {
  /** Stops between two objects; its reason is thrown. */
  readonly signal?: AbortSignal;
  /** Receives a line for people if another program keeps the repository locked for long. */
  readonly onWait?: (line: string) => void;
  readonly onProgress?: (result: SealResult) => void;
  /** In place of the kernel's, for tests. */
  readonly verity?: Verity;
}

/** Objects that are not sealed with the digest in their names, for the same reason. */
export interface SealProblem {
  /** `damaged`: sealed, but its content does not match its name. */
  readonly outcome: Unsealed['outcome'] | 'damaged';
  readonly reason: string;
  /** Hexadecimal; of those that the file system cannot seal only the first. */
  readonly objects: readonly string[];
  readonly count: number;
}

export interface SealResult {
  /** Objects that were sealed now, and their bytes. */
  readonly sealed: number;
  readonly sealedBytes: number;
  /** The size of their Merkle trees on the disk, as far as st_blocks counts it. */
  readonly treeBytes: number;
  /** Objects that were sealed before. */
  readonly already: number;
  /** Damaged ones are counted as sealed too. */
  readonly problems: readonly SealProblem[];
}

/** After this many objects, signals and messages are processed. */
const BREATHE = 64;

/**
 * Seals objects, under the lock of a writer. Objects that have been deleted are skipped. Can be stopped or killed at
 * any point, and repeated. When it returns, the seals are on the device.
 * @param digests the objects to seal; default: all of the repository
 * @throws CfsError (store) if the repository cannot be read or locked
 */
export async function sealObjects(
  repository: LocalRepository,
  digests: Iterable<Uint8Array> = objectsOf(repository),
  options: SealOptions = {},
): Promise<SealResult> {
  const { signal, onWait, onProgress, verity } = options;
  const lock = await lockForWriting(repository, signal, onWait);
  const tally = new Tally();
  try {
    let n = 0;
    for (const digest of digests) {
      tally.add(
        repository,
        digest,
        sealFile(() => repository.open(digest), verity, OBJECT_MODE),
      );
      if (++n % BREATHE !== 0) continue;
      onProgress?.(tally.result());
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (signal?.aborted === true) throw signal.reason;
    }
    const result = tally.result();
    // also the seals of a run that was killed before this point
    if (result.sealed + result.already > 0) syncObjects(repository);
    return result;
  } finally {
    lock.release();
  }
}

/** The digests of all objects, in order. */
function* objectsOf(repository: LocalRepository): Generator<Uint8Array> {
  const names = (name: string): string[] => {
    try {
      const directory = repository.directory(name);
      try {
        return directory.names().sort();
      } finally {
        directory.close();
      }
    } catch (error) {
      if (error instanceof CfsError) throw error;
      throw new CfsError(
        'store',
        `Cannot seal repository ${repository.path}: ${repository.path}/${name}: ${reasonOf(error)}`,
        { cause: error },
      );
    }
  };
  for (const prefix of names('objects')) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
    for (const name of names(`objects/${prefix}`)) {
      if (OBJECT_NAME.test(name)) yield fromHex(`${prefix}${name}`);
    }
  }
}

/** @throws CfsError (store) */
function syncObjects(repository: LocalRepository): void {
  let reason: string | undefined;
  try {
    repository.within('objects', (objects) => {
      const fd = objects.openToRead();
      try {
        const result = syncfs(fd);
        if (isErrno(result)) reason = errnoText(result);
      } finally {
        closeFd(fd);
      }
    });
  } catch (error) {
    reason = reasonOf(error);
  }
  if (reason !== undefined) throw new CfsError('store', `Cannot seal repository ${repository.path}: ${reason}`);
}

class Tally {
  #sealed = 0;
  #sealedBytes = 0;
  #treeBytes = 0;
  #already = 0;
  readonly #problems = new Map<string, SealProblem & { objects: string[]; count: number }>();

  add(repository: LocalRepository, digest: Uint8Array, file: SealedFile): void {
    if (file.outcome === 'gone') return;
    if (!('digest' in file)) {
      this.#addProblem(digest, file.outcome, file.reason);
      return;
    }
    if (file.outcome === 'already') this.#already++;
    else {
      this.#sealed++;
      this.#sealedBytes += file.size;
      this.#treeBytes += file.treeBytes;
    }
    // objects named by BLAKE3 cannot be compared
    if (repository.hash !== 'fsverity-sha256') return;
    const mismatch = checkMeasured(file.digest, digest, repository);
    if (mismatch !== undefined) this.#addProblem(digest, 'damaged', mismatch);
  }

  #addProblem(digest: Uint8Array, outcome: SealProblem['outcome'], reason: string): void {
    const key = `${outcome} ${reason}`;
    const problem = this.#problems.get(key) ?? { outcome, reason, objects: [], count: 0 };
    this.#problems.set(key, problem);
    problem.count++;
    if (outcome !== 'unsupported' || problem.count === 1) problem.objects.push(toHex(digest));
  }

  result(): SealResult {
    return {
      sealed: this.#sealed,
      sealedBytes: this.#sealedBytes,
      treeBytes: this.#treeBytes,
      already: this.#already,
      problems: [...this.#problems.values()],
    };
  }
}
