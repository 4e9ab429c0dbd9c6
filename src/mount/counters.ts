/**
 * Counts what a mount has done since its server started. Each thread counts for itself in shared memory, so counting
 * costs an addition; the numbers are added up on request. Each number has one writer, and no two numbers belong
 * together. So plain stores suffice: a sum may lack the latest counts, but is never wrong otherwise.
 */
import {
  EEXIST,
  EFBIG,
  EINVAL,
  EISDIR,
  ENAMETOOLONG,
  ENODATA,
  ENOENT,
  ENOSYS,
  ENOTDIR,
  ENOTEMPTY,
  ENOTTY,
  ENXIO,
  EOPNOTSUPP,
  EPERM,
  ERANGE,
  EROFS,
  type Errno,
  EXDEV,
  errnoName,
} from '../base/errno.ts';
import type { RepositoryOutcome } from '../base/log.ts';

export const OUTCOMES: readonly RepositoryOutcome[] = ['served', 'missing', 'damaged', 'failed'];

const OPCODES = 64;
const ERRNOS = 256;
const MISCELLANEOUS = 8;
const BYTES_READ = 0;
const SLOW = 1;
/** Requests and errors without a number of their own: the kernel is newer, or wrong. */
const OTHER_REQUESTS = 2;
const OTHER_ERRORS = 3;
/** In place of a name. */
export const OTHER = 'other';

/**
 * Errors that a healthy mount returns, too: a name does not exist, or does already, is of another kind, or cannot be
 * changed; or an operation is not implemented, so that the kernel does without it. None of these counts as an error.
 */
const ANSWERS: ReadonlySet<Errno> = new Set([
  ENOSYS,
  EOPNOTSUPP,
  ENODATA,
  ERANGE,
  ENOTTY,
  ENXIO,
  ENOENT,
  ENOTDIR,
  EISDIR,
  EINVAL,
  ENAMETOOLONG,
  EROFS,
  EEXIST,
  ENOTEMPTY,
  EXDEV,
  EFBIG,
  EPERM,
]);

/** Shared memory for `threads` threads of a mount with this number of repositories. */
export interface CounterMemory {
  readonly buffer: SharedArrayBuffer;
  readonly repositories: number;
}

const rowSize = (repositories: number): number => OPCODES + ERRNOS + MISCELLANEOUS + repositories * OUTCOMES.length;

export function allocateCounters(threads: number, repositories: number): CounterMemory {
  return { buffer: new SharedArrayBuffer(threads * rowSize(repositories) * 8), repositories };
}

/** The numbers of one thread. */
export class Counters {
  readonly #row: Float64Array;

  constructor({ buffer, repositories }: CounterMemory, thread: number) {
    const size = rowSize(repositories);
    this.#row = new Float64Array(buffer, thread * size * 8, size);
  }

  request(opcode: number): void {
    this.#add(opcode < OPCODES ? opcode : OPCODES + ERRNOS + OTHER_REQUESTS);
  }

  /** A request that was answered with an error number. */
  error(errno: Errno): void {
    if (ANSWERS.has(errno)) return;
    this.#add(OPCODES + (-errno < ERRNOS ? -errno : ERRNOS + OTHER_ERRORS));
  }

  bytesRead(bytes: number): void {
    this.#add(OPCODES + ERRNOS + BYTES_READ, bytes);
  }

  /** A request that took longer than a second. */
  slow(): void {
    this.#add(OPCODES + ERRNOS + SLOW);
  }

  /** @param repository its index in search order */
  repository(repository: number, outcome: RepositoryOutcome): void {
    this.#add(OPCODES + ERRNOS + MISCELLANEOUS + repository * OUTCOMES.length + OUTCOMES.indexOf(outcome));
  }

  #add(index: number, n = 1): void {
    this.#row[index] = (this.#row[index] as number) + n;
  }
}

/** How often one thread was served from a repository. @param repository its index in search order */
export function servedTo(memory: CounterMemory, thread: number, repository: number): number {
  const size = rowSize(memory.repositories);
  const at = OPCODES + ERRNOS + MISCELLANEOUS + repository * OUTCOMES.length + OUTCOMES.indexOf('served');
  return new Float64Array(memory.buffer, thread * size * 8, size)[at] as number;
}

/** All threads together. */
export interface CounterTotals {
  /** By opcode; only those that occurred. */
  readonly requests: ReadonlyMap<number, number>;
  /** Requests whose opcodes are not counted individually. */
  readonly otherRequests: number;
  /** By name: "EIO", or OTHER. Only errors that indicate a problem. */
  readonly errors: Readonly<Record<string, number>>;
  readonly bytesRead: number;
  readonly slow: number;
  /** In search order. */
  readonly repositories: readonly Readonly<Record<RepositoryOutcome, number>>[];
}

export function totalsOf({ buffer, repositories }: CounterMemory): CounterTotals {
  const size = rowSize(repositories);
  const all = new Float64Array(buffer);
  const sum = new Float64Array(size);
  for (let i = 0; i < all.length; i++) sum[i % size] = (sum[i % size] as number) + (all[i] as number);
  const requests = new Map<number, number>();
  for (let opcode = 0; opcode < OPCODES; opcode++) {
    if ((sum[opcode] as number) > 0) requests.set(opcode, sum[opcode] as number);
  }
  const errors: Record<string, number> = {};
  for (let errno = 0; errno < ERRNOS; errno++) {
    const n = sum[OPCODES + errno] as number;
    if (n > 0) errors[errnoName(-errno as Errno)] = n;
  }
  const otherErrors = sum[OPCODES + ERRNOS + OTHER_ERRORS] as number;
  if (otherErrors > 0) errors[OTHER] = otherErrors;
  const at = OPCODES + ERRNOS + MISCELLANEOUS;
  return {
    requests,
    otherRequests: sum[OPCODES + ERRNOS + OTHER_REQUESTS] as number,
    errors,
    bytesRead: sum[OPCODES + ERRNOS + BYTES_READ] as number,
    slow: sum[OPCODES + ERRNOS + SLOW] as number,
    repositories: Array.from({ length: repositories }, (_, i) => {
      const [served, missing, damaged, failed] = sum.subarray(at + i * OUTCOMES.length, at + (i + 1) * OUTCOMES.length);
      return { served, missing, damaged, failed } as Record<RepositoryOutcome, number>;
    }),
  };
}
