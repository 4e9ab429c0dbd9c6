/**
 * The objects of one image in several repositories: found in the order of the repositories, verified as
 * the mount asks, opened. State is shared between the threads of a mount.
 */
import { closeSync, fstatSync, type Stats } from 'node:fs';
import { EIO, ENOENT, type Errno, isErrno } from '../errno.ts';
import { fileIdentity } from '../file-identity.ts';
import { emptyFileVersion, type FileVersion } from '../file-status.ts';
import { badCopy, type CopyProblem, notOpened, type OutcomeCounter, ProblemLog } from './copy-problems.ts';
import type { Repository } from './repository.ts';
import { checkShape, verifyObject } from './verify.ts';

/** When an object is hashed: as a whole at its first `open`, block by block at each `read`, or never (`off`; its size is checked). */
export type VerifyMode = 'open' | 'read' | 'off';

/** What the threads of a mount know of its objects together. */
export interface ObjectState {
  readonly buffer: SharedArrayBuffer;
  readonly count: number;
}

/** Fresh state for `count` objects: 16 bytes each, of which untouched pages cost no memory. */
export function allocateObjectState(count: number): ObjectState {
  return { buffer: new SharedArrayBuffer(count * 16), count };
}

/** One object as its image names it. */
export interface ObjectName {
  /** Index among the image's objects. */
  readonly index: number;
  readonly digest: Uint8Array;
  readonly size: number;
}

const IDLE = 0;
const HASHING = 1;
const CTIME_SETTLES_MS = 50;

export class ObjectStore {
  readonly #repositories: readonly Repository[];
  readonly #verify: boolean;
  readonly #problems: ProblemLog;
  /** ctime in ms of the file that was last verified as this object, 0 for none. */
  readonly #ctime: Float64Array;
  /** Which file that was, `fileIdentity`. */
  readonly #identity: Uint32Array;
  /** IDLE or HASHING. */
  readonly #busy: Int32Array;
  readonly #status: FileVersion = emptyFileVersion();

  /**
   * @param verify false: objects are only looked at for type and size
   * @param log receives a line for each object that could not be served, or only by a later repository
   * @param count is told what became of asking each repository
   */
  constructor(
    repositories: readonly Repository[],
    verify: boolean,
    state: ObjectState,
    log: (line: string) => void,
    count?: OutcomeCounter,
  ) {
    this.#repositories = repositories;
    this.#verify = verify;
    this.#problems = new ProblemLog(log, count);
    this.#ctime = new Float64Array(state.buffer, 0, state.count);
    this.#identity = new Uint32Array(state.buffer, state.count * 8, state.count);
    this.#busy = new Int32Array(state.buffer, state.count * 12, state.count);
  }

  /**
   * A descriptor of the object, verified, for reading; EIO where no repository has a good copy.
   * @param path gives the path of a file with this content, for the log
   */
  open(object: ObjectName, path: () => string): number | Errno {
    const problems: CopyProblem[] = [];
    for (const repository of this.#repositories) {
      const fd = repository.open(object.digest);
      if (isErrno(fd)) {
        problems.push(notOpened(repository, fd));
        continue;
      }
      const reason = this.#check(fd, object, repository);
      if (reason === undefined) {
        this.#problems.passedOver(object, path, problems, repository);
        return fd;
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
      const result = repository.status(object.digest, status);
      if (result === ENOENT) continue;
      if (isErrno(result) || !this.#isGood(object, status)) return -1;
      return fileIdentity(status);
    }
    return -1;
  }

  /** Whether the file with this status is the copy that was hashed as this object, and has not changed since. */
  isVerified({ index }: ObjectName, status: FileVersion): boolean {
    return this.#verify && this.#isVerified(index, status);
  }

  #isGood({ index, size }: ObjectName, status: FileVersion): boolean {
    if (this.#verify) return this.#isVerified(index, status);
    return status.isFile && status.size === size;
  }

  #check(fd: number, object: ObjectName, repository: Repository): string | undefined {
    if (!this.#verify) return checkShape(fd, object.size);
    const stat = fstatSync(fd);
    if (this.#isVerified(object.index, stat)) return undefined;
    // one thread hashes, the others wait for it rather than do the same
    while (Atomics.compareExchange(this.#busy, object.index, IDLE, HASHING) !== IDLE) {
      Atomics.wait(this.#busy, object.index, HASHING);
      if (this.#isVerified(object.index, stat)) return undefined;
    }
    const started = Date.now();
    try {
      const problem = verifyObject(fd, repository.hash, object.digest, object.size);
      if (problem !== undefined) return problem;
      this.#remember(object.index, fd, stat, started);
      return undefined;
    } finally {
      Atomics.store(this.#busy, object.index, IDLE);
      Atomics.notify(this.#busy, object.index);
    }
  }

  /** A file is the one that was verified while inode and ctime are the same: writing, truncating, replacing and renaming change one of them. */
  #isVerified(index: number, stat: Pick<Stats, 'dev' | 'ino' | 'ctimeMs'>): boolean {
    return this.#ctime[index] === stat.ctimeMs && this.#identity[index] === fileIdentity(stat);
  }

  /**
   * Not remembered where the file changed while it was hashed, or so shortly before `started` that a change after
   * it could have the same ctime: the kernel's clock for timestamps may tick only every 10 ms.
   */
  #remember(index: number, fd: number, before: Stats, started: number): void {
    if (fstatSync(fd).ctimeMs !== before.ctimeMs || started - before.ctimeMs < CTIME_SETTLES_MS) return;
    this.#identity[index] = fileIdentity(before);
    this.#ctime[index] = before.ctimeMs;
  }
}
