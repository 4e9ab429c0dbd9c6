/** The problems of an object's copies in several repositories, and one line in the log about it. */
import { toHex } from '../base/bytes.ts';
import { DEFERRED, EIO, ENOENT, type Errno, errnoName } from '../base/errno.ts';
import type { Log, LogEvent, RepositoryOutcome, Severity } from '../base/log.ts';
import type { Elsewhere } from './content-source.ts';
import type { ObjectName, Repository } from './repository.ts';
import { UNREADABLE, UNSEALED } from './verify.ts';

export interface CopyProblem {
  readonly repository: Repository;
  /** "it is missing", "its content is corrupted: …" */
  readonly reason: string;
  /** A missing object (`missing`) is not an error of a repository that is searched before others. */
  readonly outcome: Exclude<RepositoryOutcome, 'served'>;
}

/** Receives the outcome of searching a repository. */
export type OutcomeCounter = (repository: Repository, outcome: RepositoryOutcome) => void;

/** Why `Repository.open` returned no descriptor. */
export function notOpened(repository: Repository, errno: Errno): CopyProblem {
  const missing = errno === ENOENT;
  return { repository, reason: missing ? 'it is missing' : errnoName(errno), outcome: missing ? 'missing' : 'failed' };
}

/** A copy that was opened and is not the object, with a reason of verify.ts. */
export function badCopy(repository: Repository, reason: string): CopyProblem {
  const isUnknown = reason.startsWith(UNREADABLE) || reason.startsWith(UNSEALED);
  return { repository, reason, outcome: isUnknown ? 'failed' : 'damaged' };
}

/**
 * What was logged about an object, in a byte of `ObjectState`; it may be logged again after it was served without any
 * fault.
 */
const SAID_EIO = 1;
const SAID_PASSED_OVER = 2;

/** Writes one line per object and outcome, in any thread: a program that retries must not fill the log. */
export class ProblemLog {
  readonly #log: Log;
  /** SAID_* of each object. */
  readonly #said: Uint8Array;
  readonly #count: OutcomeCounter;
  readonly #elsewhere: Elsewhere | undefined;

  /**
   * @param said shared by the threads of a mount
   * @param elsewhere asked for objects that no repository has
   */
  constructor(log: Log, said: Uint8Array, count: OutcomeCounter = () => undefined, elsewhere?: Elsewhere) {
    this.#log = log;
    this.#said = said;
    this.#count = count;
    this.#elsewhere = elsewhere;
  }

  /** No repository has a good copy. @returns the result for the reader: EIO, or DEFERRED if the object may come */
  failed(object: ObjectName, path: () => string, problems: readonly CopyProblem[]): Errno {
    const reason = this.#elsewhere?.(object);
    if (reason === undefined && this.#elsewhere !== undefined) return DEFERRED;
    this.#countAll(problems);
    if (this.#isNew(object, SAID_EIO)) {
      const outcome = reason === undefined ? 'EIO' : `${reason}: EIO`;
      this.#write(object, path, problems, outcome, ['error', 'object-refused']);
    }
    return EIO;
  }

  /** The reader got a good copy from `used`; worth a line only if an earlier copy was bad. */
  passedOver(object: ObjectName, path: () => string, problems: readonly CopyProblem[], used: Repository): void {
    this.#countAll(problems);
    this.#count(used, 'served');
    if (problems.every(({ outcome }) => outcome === 'missing')) {
      if (this.#said[object.index] !== 0) Atomics.store(this.#said, object.index, 0);
      return;
    }
    Atomics.and(this.#said, object.index, ~SAID_EIO);
    if (!this.#isNew(object, SAID_PASSED_OVER)) return;
    this.#write(object, path, problems, `served from ${used.path} instead`, ['warning', 'object-passed-over']);
  }

  #isNew({ index }: ObjectName, what: number): boolean {
    return (Atomics.or(this.#said, index, what) & what) === 0;
  }

  #countAll(problems: readonly CopyProblem[]): void {
    for (const { repository, outcome } of problems) this.#count(repository, outcome);
  }

  #write(
    { index, digest }: ObjectName,
    path: () => string,
    problems: readonly CopyProblem[],
    outcome: string,
    [severity, event]: readonly [Severity, LogEvent],
  ): void {
    const asked = problems.map(({ repository, reason }) => `${repository.path}: ${reason}`).join('; ');
    const name = toHex(digest);
    // each repository before the serving one has an entry here
    const copies = problems.map((problem, i) => ({
      repository: i + 1,
      outcome: problem.outcome,
      reason: problem.reason,
    }));
    const line = `${path()}: object ${name}: ${asked || 'no repository was given'}: ${outcome}`;
    this.#log(line, severity, { index, digest: name, copies }, event);
  }
}
