/**
 * Reads parts of objects, with every 64 KiB block checked against the manifest: nothing is hashed before the first
 * byte, and every served byte was checked. One per thread.
 */
import { equalBytes } from '../base/bytes.ts';
import { BLOCK_SIZE, blake3, DIGEST_SIZE } from '../base/digest.ts';
import { EMFILE, ENFILE, type Errno, isErrno } from '../base/errno.ts';
import type { Log } from '../base/log.ts';
import { closeFd } from '../system/descriptors.ts';
import { readahead } from '../system/reading-writing.ts';
import { openFilesLimit } from '../system/resource-limits.ts';
import { BY_BLOCKS, type ContentSource, type Elsewhere } from './content-source.ts';
import { badCopy, type CopyProblem, notOpened, type OutcomeCounter, ProblemLog } from './copy-problems.ts';
import { type ObjectState, saidOf } from './object-state.ts';
import { readUpTo } from './read-content.ts';
import type { ObjectName, Repository } from './repository.ts';
import { checkShape, unlessUnreadable } from './verify.ts';

/** The BLAKE3 of each block of an object: 32 bytes each, in order. */
export type BlockHashes = (object: ObjectName) => Uint8Array;

/** Open objects that a thread keeps, */
const MAX_OPEN = 256;
/** and its share of the process's limit, if that is low: the rest is for other threads and for opening. */
const SHARE = 1 / 8;
/**
 * Above this part of the limit an object is closed after reading, so that each thread can open the one that it reads.
 */
const MOST = 15 / 16;

interface OpenObject {
  readonly fd: number;
}

export class BlockObjects implements ContentSource {
  readonly openless = true;
  readonly openedIdentity = 0;
  readonly #repositories: readonly Repository[];
  readonly #hashes: BlockHashes;
  readonly #problems: ProblemLog;
  /** By index of the object; the least recently used first. */
  readonly #open = new Map<number, OpenObject>();
  readonly #most = Math.max(1, Math.min(MAX_OPEN, Math.floor(openFilesLimit() * SHARE)));
  readonly #highest = Math.floor(openFilesLimit() * MOST);
  readonly #scratch = new Uint8Array(BLOCK_SIZE);
  /**
   * The verified block in the scratch buffer: its object and its offset there. Page faults ask for a block in many
   * small pieces.
   */
  #held: { readonly object: number; readonly at: number } | undefined;

  constructor(
    repositories: readonly Repository[],
    hashes: BlockHashes,
    state: ObjectState,
    log: Log,
    count?: OutcomeCounter,
    elsewhere?: Elsewhere,
  ) {
    this.#repositories = repositories;
    this.#hashes = hashes;
    this.#problems = new ProblemLog(log, saidOf(state), count, elsewhere);
  }

  /** Nothing is verified before it is read. */
  open(): typeof BY_BLOCKS {
    return BY_BLOCKS;
  }

  current(): number {
    return -1;
  }

  proofOf(): undefined {
    return undefined;
  }

  prefetch(object: ObjectName): void {
    for (const repository of this.#repositories) {
      const fd = repository.open(object.digest);
      if (isErrno(fd)) continue;
      readahead(fd, 0, object.size);
      closeFd(fd);
      return;
    }
  }

  /**
   * Reads at `offset` into all of `into`, which must not reach beyond the end of the object.
   * @returns the bytes read, `into.length`; EIO if no repository has a good copy of every block, or DEFERRED
   * @param path returns the path of a file with this content, for the log
   */
  read(object: ObjectName, offset: number, into: Uint8Array, path: () => string): number | Errno {
    const problems: CopyProblem[] = [];
    const kept = this.#open.get(object.index);
    if (kept !== undefined) {
      if (this.#fill(kept.fd, object, offset, into) === undefined) {
        this.#touch(object.index, kept);
        return into.length;
      }
      // its name may belong to another file now: a repaired one, or that of a file system that came back
      this.#forget(object.index);
    }
    for (const repository of this.#repositories) {
      const problem = this.#tryRepository(repository, object, offset, into);
      if (problem === undefined) {
        this.#problems.passedOver(object, path, problems, repository);
        return into.length;
      }
      problems.push(problem);
    }
    return this.#problems.failed(object, path, problems);
  }

  /** Closes what is kept open; reading opens it again. */
  close(): void {
    for (const index of [...this.#open.keys()]) this.#forget(index);
  }

  /** Takes over an open file of the object, whose size is right, to read from it first. */
  adopt(object: ObjectName, fd: number): void {
    this.#keep(object.index, { fd });
  }

  #tryRepository(
    repository: Repository,
    object: ObjectName,
    offset: number,
    into: Uint8Array,
  ): CopyProblem | undefined {
    let fd = repository.open(object.digest);
    if ((fd === EMFILE || fd === ENFILE) && this.#open.size > 0) {
      for (const index of [...this.#open.keys()]) this.#forget(index);
      fd = repository.open(object.digest);
    }
    if (isErrno(fd)) return notOpened(repository, fd);
    const reason = checkShape(fd, object.size) ?? this.#fill(fd, object, offset, into);
    if (reason === undefined) {
      this.#keep(object.index, { fd });
      return undefined;
    }
    closeFd(fd);
    return badCopy(repository, reason);
  }

  /** Fills `into` block by block; returns the problem of the copy, or undefined. */
  #fill(fd: number, object: ObjectName, offset: number, into: Uint8Array): string | undefined {
    const hashes = this.#hashes(object);
    const end = offset + into.length;
    return unlessUnreadable(() => {
      for (let at = offset - (offset % BLOCK_SIZE); at < end; at += BLOCK_SIZE) {
        const length = Math.min(BLOCK_SIZE, object.size - at);
        // a block that is requested whole is read to its destination, others through the scratch buffer
        const whole = at >= offset && at + length <= end;
        const block = whole ? into.subarray(at - offset, at - offset + length) : this.#scratch.subarray(0, length);
        const isHeld = !whole && this.#held?.object === object.index && this.#held.at === at;
        if (!isHeld) {
          if (!whole) this.#held = undefined;
          if (readUpTo(fd, block, length, at) !== length) return `it is truncated: no block at ${at}`;
          const index = at / BLOCK_SIZE;
          const expected = hashes.subarray(index * DIGEST_SIZE, (index + 1) * DIGEST_SIZE);
          if (!equalBytes(blake3(block), expected)) return `its content is corrupted: the block at ${at}`;
          if (!whole) this.#held = { object: object.index, at };
        }
        if (!whole) {
          const from = Math.max(at, offset);
          into.set(block.subarray(from - at, Math.min(at + length, end) - at), from - offset);
        }
      }
      return undefined;
    });
  }

  #keep(index: number, open: OpenObject): void {
    this.#forget(index);
    if (open.fd >= this.#highest) {
      closeFd(open.fd);
      return;
    }
    this.#open.set(index, open);
    if (this.#open.size <= this.#most) return;
    const [oldest] = this.#open.keys();
    if (oldest !== undefined) this.#forget(oldest);
  }

  #touch(index: number, open: OpenObject): void {
    this.#open.delete(index);
    this.#open.set(index, open);
  }

  #forget(index: number): void {
    const open = this.#open.get(index);
    if (open === undefined) return;
    closeFd(open.fd);
    this.#open.delete(index);
  }
}
