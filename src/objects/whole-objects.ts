/**
 * The objects of one image in several repositories: found in search order, verified as requested by the mount, opened.
 * The threads of a mount share the state.
 */
import { closeSync } from 'node:fs';
import { EIO, EMFILE, ENFILE, ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { fileIdentity } from '../base/file-identity.ts';
import type { Log } from '../base/log.ts';
import { isCtimeSettled } from '../base/settled-ctime.ts';
import { emptyFileVersion, type FileVersion } from '../system/file-status.ts';
import { askingKernelsOwn, type IsKernelsOwn } from '../system/file-systems.ts';
import { type MeasureVerity, measureVerity } from '../system/fsverity.ts';
import { readahead } from '../system/reading-writing.ts';
import { openFilesLimit } from '../system/resource-limits.ts';
import type { BlockObjects } from './block-objects.ts';
import { BY_BLOCKS, type ContentSource, type Elsewhere } from './content-source.ts';
import { badCopy, type CopyProblem, notOpened, type OutcomeCounter, ProblemLog } from './copy-problems.ts';
import { type ObjectState, saidOf } from './object-state.ts';
import type { ObjectName, Proof, Repository, WholeMode } from './repository.ts';
import { VerifiedFiles } from './verified-files.ts';
import { checkMeasured, shapeProblem, UNSEALED, unlessUnreadable, verifyObject, versionOf } from './verify.ts';

/** Optional parts of WholeObjects. */
export interface WholeObjectsOptions {
  /** Receives the outcome at each repository. */
  readonly count?: OutcomeCounter;
  /**
   * Reads the objects for which `open` returns BY_BLOCKS, and takes over their descriptors; without it, opening them
   * fails with EIO.
   */
  readonly blocks?: BlockObjects;
  readonly elsewhere?: Elsewhere | undefined;
  /** Replacements for calls of the kernel, for tests. */
  readonly measure?: MeasureVerity;
  readonly isKernelsOwn?: IsKernelsOwn;
  readonly mostFiles?: number;
}

/** The part of the process's limit of open files that open files of the mount may use. */
const SHARE = 3 / 4;

/** An object that was found. */
interface Found {
  /** The caller closes it. */
  readonly fd: number | Errno;
  readonly repository?: Repository;
  /** False for an object that must be read by blocks. */
  readonly isVerified: boolean;
}

export class WholeObjects implements ContentSource {
  readonly openless = false;
  readonly #repositories: readonly Repository[];
  readonly #mode: WholeMode;
  readonly #measure: MeasureVerity;
  readonly #isKernelsOwn: IsKernelsOwn;
  readonly #blocks: BlockObjects | undefined;
  readonly #problems: ProblemLog;
  readonly #verified: VerifiedFiles;
  readonly #status: FileVersion = emptyFileVersion();
  /** The kernel returns the lowest free number: if one is as high as this, descriptors are short. */
  readonly #highest: number;
  /** The status of the open file before, and again after verification. */
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
    options: WholeObjectsOptions = {},
  ) {
    this.#repositories = repositories;
    this.#mode = mode;
    this.#measure = options.measure ?? measureVerity;
    this.#isKernelsOwn = options.isKernelsOwn ?? askingKernelsOwn();
    this.#blocks = options.blocks;
    this.#problems = new ProblemLog(log, saidOf(state), options.count, options.elsewhere);
    this.#highest = Math.floor((options.mostFiles ?? openFilesLimit()) * SHARE);
    this.#verified = new VerifiedFiles(state.buffer, state.count);
  }

  /**
   * A descriptor of the verified object, for reading; EIO if no repository has a good copy, or DEFERRED; BY_BLOCKS if
   * it was not verified, and must be read by a `BlockObjects`. That is also the result if this process may run out of
   * descriptors: a `BlockObjects` keeps only a few. Not with `fsverity`, because a `BlockObjects` does not check seals.
   * @param path returns the path of a file with this content, for the log
   */
  open(object: ObjectName, path: () => string): number | Errno | typeof BY_BLOCKS {
    const problems: CopyProblem[] = [];
    const { fd, repository, isVerified } = this.#find(object, problems);
    if (repository !== undefined) this.#problems.passedOver(object, path, problems, repository);
    else if (fd === EIO) return this.#problems.failed(object, path, problems);
    if (isErrno(fd)) return fd === EMFILE ? BY_BLOCKS : fd;
    if (isVerified) return fd;
    if (this.#blocks === undefined) closeSync(fd);
    else this.#blocks.adopt(object, fd);
    return BY_BLOCKS;
  }

  /**
   * The first good copy of an object; EIO if there is none, EMFILE if it cannot be opened for lack of descriptors.
   * @param problems receives the problems of the copies before it
   */
  #find(object: ObjectName, problems: CopyProblem[]): Found {
    for (const repository of this.#repositories) {
      const fd = repository.open(object.digest);
      if (isErrno(fd)) {
        if ((fd === EMFILE || fd === ENFILE) && this.#mode !== 'fsverity') return { fd: EMFILE, isVerified: false };
        problems.push(notOpened(repository, fd));
        continue;
      }
      const reason = unlessUnreadable(() => this.#check(fd, object, repository));
      if (reason === undefined || reason === BY_BLOCKS) return { fd, repository, isVerified: reason === undefined };
      closeSync(fd);
      problems.push(badCopy(repository, reason));
    }
    return { fd: EIO, isVerified: false };
  }

  get openedIdentity(): number {
    return fileIdentity(this.#before);
  }

  read(object: ObjectName, offset: number, into: Uint8Array, path: () => string): number | Errno {
    return this.#blocks?.read(object, offset, into, path) ?? EIO;
  }

  prefetch(object: ObjectName): void {
    if (this.#mode !== 'off' && this.current(object) >= 0) return;
    // a problem is logged when a reader encounters it
    const { fd, isVerified } = this.#find(object, []);
    if (isErrno(fd)) return;
    // a hashed object is in memory; a measured one, or one to be read by blocks, may not be
    if (this.#mode !== 'open' || !isVerified) readahead(fd, 0, object.size);
    closeSync(fd);
  }

  /**
   * The file that `open` would open, determined by one lookup of its name: its `fileIdentity`; -1 if only `open` can
   * determine it, for instance because the file has not been verified in its present state.
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

  /** How the file with this status was verified as this object; undefined if it was not, or has changed since. */
  proofOf({ index }: ObjectName, status: FileVersion): Proof | undefined {
    return this.#verified.proofOf(index, status);
  }

  #isGood({ index, size }: ObjectName, status: FileVersion): boolean {
    if (this.#mode !== 'off') return this.#verified.proofOf(index, status) !== undefined;
    return status.isFile && status.size === size;
  }

  get #mayReadByBlocks(): boolean {
    return this.#mode === 'open' || this.#mode === 'auto';
  }

  /**
   * @returns the problem of the file; BY_BLOCKS if its content cannot be checked once and for all; undefined if it is
   * the object
   */
  #check(fd: number, object: ObjectName, repository: Repository): string | typeof BY_BLOCKS | undefined {
    const stat = versionOf(fd, this.#before);
    if (fd >= this.#highest && this.#mode !== 'fsverity') return shapeProblem(stat, object.size) ?? BY_BLOCKS;
    if (this.#mode === 'off') return shapeProblem(stat, object.size);
    // a hashed file is not measured. A measured one is measured again: that costs less than to check whether it is
    // necessary, and the mount relies on the seal itself
    const proof = this.#verified.proofOf(object.index, stat);
    if (proof === 'hashed') return undefined;
    // a file that was verified once is on a file system where its status is reliable
    if (proof === undefined && !this.#isKernelsOwn(fd, stat.dev)) {
      if (!this.#mayReadByBlocks) return `${UNSEALED}: its file system is not under the control of this kernel alone`;
      return shapeProblem(stat, object.size) ?? BY_BLOCKS;
    }
    if (this.#mode === 'open') return this.#checkHash(fd, object, repository, stat);
    const started = Date.now();
    const problem = checkMeasured(this.#measure(fd), object.digest, repository) ?? shapeProblem(stat, object.size);
    if (problem === undefined) this.#rememberMeasured(object.index, fd, stat, started);
    else if (this.#mode === 'auto') return this.#checkHash(fd, object, repository, stat);
    return problem;
  }

  #checkHash(fd: number, object: ObjectName, repository: Repository, stat: FileVersion): string | undefined {
    // one thread hashes, and the others wait for it rather than do the same work
    if (!this.#verified.claimToHash(object.index, stat)) return undefined;
    const started = Date.now();
    try {
      const problem = shapeProblem(stat, object.size) ?? verifyObject(fd, repository.hash, object.digest, object.size);
      if (problem === undefined && this.#isUnchanged(fd, stat, started)) {
        this.#verified.record(object.index, stat, 'hashed');
      }
      return problem;
    } finally {
      this.#verified.release(object.index);
    }
  }

  /** Does nothing if another thread has the claim: measuring again costs less than waiting for it. */
  #rememberMeasured(index: number, fd: number, stat: FileVersion, started: number): void {
    if (this.#verified.proofOf(index, stat) === 'measured' || !this.#isUnchanged(fd, stat, started)) return;
    if (!this.#verified.claim(index)) return;
    try {
      this.#verified.record(index, stat, 'measured');
    } finally {
      this.#verified.release(index);
    }
  }

  /**
   * Whether the result of a check since `started` may be remembered. Not if the file changed in the meantime, or so
   * shortly before that a change after it could have the same ctime.
   */
  #isUnchanged(fd: number, { ctimeMs }: FileVersion, started: number): boolean {
    return versionOf(fd, this.#after).ctimeMs === ctimeMs && isCtimeSettled(ctimeMs, started);
  }
}
