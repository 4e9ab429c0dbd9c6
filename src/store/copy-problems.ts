/** What is wrong with the copies of an object in several repositories, and one line in the log about it. */
import { toHex } from '../base/bytes.ts';
import type { RepositoryOutcome } from '../base/counters.ts';
import { ENOENT, type Errno, errnoName } from '../base/errno.ts';
import type { ObjectName } from './object-store.ts';
import type { Repository } from './repository.ts';

export interface CopyProblem {
  readonly repository: Repository;
  /** "it is missing", "its content is corrupted: …" */
  readonly reason: string;
  /** Not being there (`missing`) is no fault of a repository that is asked before others. */
  readonly outcome: Exclude<RepositoryOutcome, 'served'>;
}

/** Told what became of asking a repository. */
export type OutcomeCounter = (repository: Repository, outcome: RepositoryOutcome) => void;

/** Why `Repository.open` gave no descriptor. */
export function notOpened(repository: Repository, errno: Errno): CopyProblem {
  const missing = errno === ENOENT;
  return { repository, reason: missing ? 'it is missing' : errnoName(errno), outcome: missing ? 'missing' : 'failed' };
}

/** A copy that was opened and is not the object, for a reason of verify.ts. */
export function badCopy(repository: Repository, reason: string): CopyProblem {
  const isUnknown = reason.startsWith(UNREADABLE) || reason.startsWith(UNSEALED);
  return { repository, reason, outcome: isUnknown ? 'failed' : 'damaged' };
}

/** Beginnings of reasons: nobody knows whether the content is right. */
export const UNREADABLE = 'it cannot be read';
export const UNSEALED = 'it is not sealed';

/** Writes one line an object, outcome and thread: a program that tries again and again must not fill the log. */
export class ProblemLog {
  readonly #log: (line: string) => void;
  /** "index outcome" */
  readonly #reported = new Set<string>();
  readonly #count: OutcomeCounter;

  constructor(log: (line: string) => void, count: OutcomeCounter = () => undefined) {
    this.#log = log;
    this.#count = count;
  }

  /** The reader got EIO. */
  failed(object: ObjectName, path: () => string, problems: readonly CopyProblem[]): void {
    this.#countAll(problems);
    this.#write(object, path, problems, 'EIO');
  }

  /** The reader got a good copy from `used`; worth a line only where one before it was bad. */
  passedOver(object: ObjectName, path: () => string, problems: readonly CopyProblem[], used: Repository): void {
    this.#countAll(problems);
    this.#count(used, 'served');
    if (problems.every(({ outcome }) => outcome === 'missing')) return;
    this.#write(object, path, problems, `served from ${used.path} instead`);
  }

  #countAll(problems: readonly CopyProblem[]): void {
    for (const { repository, outcome } of problems) this.#count(repository, outcome);
  }

  #write(object: ObjectName, path: () => string, problems: readonly CopyProblem[], outcome: string): void {
    const key = `${object.index} ${outcome}`;
    if (this.#reported.has(key)) return;
    this.#reported.add(key);
    const asked = problems.map(({ repository, reason }) => `${repository.path}: ${reason}`).join('; ');
    this.#log(`${path()}: object ${toHex(object.digest)}: ${asked || 'no repository was given'}: ${outcome}`);
  }
}
