/**
 * The objects of one image in several repositories: found in the order of the repositories, verified as
 * the mount asks, opened. State is shared between the threads of a mount.
 */
import { closeSync } from 'node:fs';
import { EIO, EMFILE, ENFILE, ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { fileIdentity } from '../base/file-identity.ts';
import type { Log } from '../base/log.ts';
import { isCtimeSettled } from '../base/settled-ctime.ts';
import { emptyFileVersion, type FileVersion } from '../system/file-status.ts';
import { askingKernelsOwn, type IsKernelsOwn } from '../system/file-systems.ts';
import { type MeasureVerity, measureVerity } from '../system/fsverity.ts';
import { openFilesLimit } from '../system/resource-limits.ts';
import { badCopy, type CopyProblem, notOpened, type OutcomeCounter, ProblemLog } from './copy-problems.ts';
import type { ObjectName, Proof, Repository, WholeMode } from './repository.ts';
import {
  checkMeasured,
  checkShape,
  shapeProblem,
  UNSEALED,
  unlessUnreadable,
  verifyObject,
  versionOf,
} from './verify.ts';

const PROOFS: readonly (Proof | undefined)[] = [undefined, 'hashed', 'measured'];

/**
 * In place of a descriptor: the object is there, but who has its file may give other bytes each time, and say what they like of
 * its times. What was hashed says nothing of what is read later: only `BlockReader` is to read it.
 */
export const BY_BLOCKS: unique symbol = Symbol('by blocks');

/** What an ObjectStore may be given. */
export interface ObjectStoreOptions {
  /** Told what became of asking each repository. */
  readonly count?: OutcomeCounter;
  /** Takes over the descriptor of an object of which `open` says BY_BLOCKS; it is closed where there is nobody. */
  readonly adopt?: (object: ObjectName, fd: number) => void;
  /** Stand-ins for what is asked of the kernel. */
  readonly measure?: MeasureVerity;
  readonly isKernelsOwn?: IsKernelsOwn;
  readonly mostFiles?: number;
}

/** What the threads of a mount know of its objects together. */
export interface ObjectState {
  readonly buffer: SharedArrayBuffer;
  readonly count: number;
}

/** Fresh state for `count` objects: 18 bytes each, of which untouched pages cost no memory. */
export function allocateObjectState(count: number): ObjectState {
  return { buffer: new SharedArrayBuffer(count * 18), count };
}

/** What was said in the log of each object, for `ProblemLog`. */
export const saidOf = ({ buffer, count }: ObjectState): Uint8Array => new Uint8Array(buffer, count * 17, count);

/** Of the files that this process may have open, the part that open files of the mount may take. */
const SHARE = 3 / 4;

const IDLE = 0;
const HASHING = 1;

export class ObjectStore {
  readonly #repositories: readonly Repository[];
  readonly #mode: WholeMode;
  readonly #measure: MeasureVerity;
  readonly #isKernelsOwn: IsKernelsOwn;
  readonly #adopt: (object: ObjectName, fd: number) => void;
  readonly #problems: ProblemLog;
  /** ctime in ms of the file that was last verified as this object, 0 for none. */
  readonly #ctime: Float64Array;
  /** Which file that was, `fileIdentity`. */
  readonly #identity: Uint32Array;
  /** IDLE or HASHING. */
  readonly #busy: Int32Array;
  /** How it was verified, an index into PROOFS. */
  readonly #proof: Uint8Array;
  readonly #status: FileVersion = emptyFileVersion();
  /** The kernel gives the lowest free number: where one is as high as this, files are short. */
  readonly #highest: number;
  /** Of the open file that is looked at, and again after that. */
  readonly #before: FileVersion = emptyFileVersion();
  readonly #after: FileVersion = emptyFileVersion();

  /**
   * @param mode with `auto` and `fsverity` the objects are named by their fs-verity digests
   * @param log receives a line for each object that could not be served, or only by a later repository
   */
  constructor(
    repositories: readonly Repository[],
    mode: WholeMode,
    state: ObjectState,
    log: Log,
    options: ObjectStoreOptions = {},
  ) {
    this.#repositories = repositories;
    this.#mode = mode;
    this.#measure = options.measure ?? measureVerity;
    this.#isKernelsOwn = options.isKernelsOwn ?? askingKernelsOwn();
    this.#adopt = options.adopt ?? ((_object, fd) => closeSync(fd));
    this.#problems = new ProblemLog(log, saidOf(state), options.count);
    this.#highest = Math.floor((options.mostFiles ?? openFilesLimit()) * SHARE);
    this.#ctime = new Float64Array(state.buffer, 0, state.count);
    this.#identity = new Uint32Array(state.buffer, state.count * 8, state.count);
    this.#busy = new Int32Array(state.buffer, state.count * 12, state.count);
    this.#proof = new Uint8Array(state.buffer, state.count * 16, state.count);
  }

  /**
   * A descriptor of the object, verified, for reading; EIO where no repository has a good copy; BY_BLOCKS where it was not
   * verified, and is to be read by a `BlockReader`: also where this process has so many files open that it may run out of them,
   * since a `BlockReader` keeps a few only. Not with `fsverity`, for it does not look for seals.
   * @param path gives the path of a file with this content, for the log
   */
  open(object: ObjectName, path: () => string): number | Errno | typeof BY_BLOCKS {
    const problems: CopyProblem[] = [];
    for (const repository of this.#repositories) {
      const fd = repository.open(object.digest);
      if (isErrno(fd)) {
        if ((fd === EMFILE || fd === ENFILE) && this.#mode !== 'fsverity') return BY_BLOCKS;
        problems.push(notOpened(repository, fd));
        continue;
      }
      const reason = unlessUnreadable(() => this.#check(fd, object, repository));
      if (reason === undefined || reason === BY_BLOCKS) {
        this.#problems.passedOver(object, path, problems, repository);
        if (reason === undefined) return fd;
        this.#adopt(object, fd);
        return BY_BLOCKS;
      }
      closeSync(fd);
      problems.push(badCopy(repository, reason));
    }
    this.#problems.failed(object, path, problems);
    return EIO;
  }

  /**
   * Which file `open` would give a descriptor of, by one look at its name: its `fileIdentity`; -1 where only `open`
   * can tell, because the file has not been verified in its present state, for instance.
   */
  current(object: ObjectName): number {
    const status = this.#status;
    for (const repository of this.#repositories) {
      const result = repository.glance(object.digest, status);
      if (result === ENOENT) continue;
      if (isErrno(result) || !this.#isGood(object, status)) return -1;
      return fileIdentity(status);
    }
    return -1;
  }

  /** How the file with this status was verified as this object; undefined where it was not, or has changed since. */
  proofOf({ index }: ObjectName, status: FileVersion): Proof | undefined {
    return this.#isVerified(index, status) ? PROOFS[this.#proof[index] as number] : undefined;
  }

  #isGood({ index, size }: ObjectName, status: FileVersion): boolean {
    if (this.#mode !== 'off') return this.#isVerified(index, status);
    return status.isFile && status.size === size;
  }

  get #mayReadByBlocks(): boolean {
    return this.#mode === 'open' || this.#mode === 'auto';
  }

  /** @returns what is wrong with the file; BY_BLOCKS where its content cannot be checked once and for all; undefined where it is the object */
  #check(fd: number, object: ObjectName, repository: Repository): string | typeof BY_BLOCKS | undefined {
    if (fd >= this.#highest && this.#mode !== 'fsverity') return checkShape(fd, object.size) ?? BY_BLOCKS;
    if (this.#mode === 'off') return checkShape(fd, object.size);
    const stat = versionOf(fd, this.#before);
    // what was hashed is not measured, and what was measured is measured again: that costs less than to look whether it is needed,
    // and the seal itself is what the mount relies on
    if (this.#isHashed(object.index, stat)) return undefined;
    // what was verified once lies where that is believed
    if (!this.#isVerified(object.index, stat) && !this.#isKernelsOwn(fd, stat.dev)) {
      if (!this.#mayReadByBlocks) return `${UNSEALED}: not this kernel answers for its file system`;
      return shapeProblem(stat, object.size) ?? BY_BLOCKS;
    }
    if (this.#mode === 'open') return this.#checkHash(fd, object, repository, stat);
    const started = Date.now();
    const problem = checkMeasured(this.#measure(fd), object.digest, repository) ?? shapeProblem(stat, object.size);
    if (problem === undefined) this.#remember(object.index, fd, stat, started, 'measured');
    else if (this.#mode === 'auto') return this.#checkHash(fd, object, repository, stat);
    return problem;
  }

  #checkHash(fd: number, object: ObjectName, repository: Repository, stat: FileVersion): string | undefined {
    // one thread hashes, the others wait for it rather than do the same
    while (Atomics.compareExchange(this.#busy, object.index, IDLE, HASHING) !== IDLE) {
      Atomics.wait(this.#busy, object.index, HASHING);
      if (this.#isHashed(object.index, stat)) return undefined;
    }
    const started = Date.now();
    try {
      const problem = shapeProblem(stat, object.size) ?? verifyObject(fd, repository.hash, object.digest, object.size);
      if (problem !== undefined) return problem;
      this.#remember(object.index, fd, stat, started, 'hashed');
      return undefined;
    } finally {
      Atomics.store(this.#busy, object.index, IDLE);
      Atomics.notify(this.#busy, object.index);
    }
  }

  #isHashed(index: number, stat: FileVersion): boolean {
    return PROOFS[this.#proof[index] as number] === 'hashed' && this.#isVerified(index, stat);
  }

  /** A file is the one that was verified while inode and ctime are the same: writing, truncating, replacing and renaming change one of them. */
  #isVerified(index: number, stat: FileVersion): boolean {
    return this.#ctime[index] === stat.ctimeMs && this.#identity[index] === fileIdentity(stat);
  }

  /**
   * Not remembered where the file changed while it was hashed, or so shortly before `started` that a change after
   * it could have the same ctime.
   */
  #remember(index: number, fd: number, before: FileVersion, started: number, proof: Proof): void {
    if (versionOf(fd, this.#after).ctimeMs !== before.ctimeMs || !isCtimeSettled(before.ctimeMs, started)) return;
    this.#proof[index] = PROOFS.indexOf(proof);
    this.#identity[index] = fileIdentity(before);
    this.#ctime[index] = before.ctimeMs;
  }
}
