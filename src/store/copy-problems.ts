/** What is wrong with the copies of an object in several repositories, and one line in the log about it. */
import { toHex } from '../bytes.ts';
import { ENOENT, type Errno, errnoName } from '../errno.ts';
import type { ObjectName } from './object-store.ts';
import type { Repository } from './repository.ts';

export interface CopyProblem {
  readonly repository: Repository;
  /** "it is missing", "its content is corrupted: …" */
  readonly reason: string;
  /** Not being there is no fault of a repository that is asked before others. */
  readonly missing: boolean;
}

/** Why `Repository.open` gave no descriptor. */
export function notOpened(repository: Repository, errno: Errno): CopyProblem {
  const missing = errno === ENOENT;
  return { repository, reason: missing ? 'it is missing' : errnoName(errno), missing };
}

/** Writes one line an object, outcome and thread: a program that tries again and again must not fill the log. */
export class ProblemLog {
  readonly #log: (line: string) => void;
  /** "index outcome" */
  readonly #reported = new Set<string>();

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** The reader got EIO. */
  failed(object: ObjectName, path: () => string, problems: readonly CopyProblem[]): void {
    this.#write(object, path, problems, 'EIO');
  }

  /** The reader got a good copy from `used`; worth a line only where one before it was bad. */
  passedOver(object: ObjectName, path: () => string, problems: readonly CopyProblem[], used: Repository): void {
    if (problems.every(({ missing }) => missing)) return;
    this.#write(object, path, problems, `served from ${used.path} instead`);
  }

  #write(object: ObjectName, path: () => string, problems: readonly CopyProblem[], outcome: string): void {
    const key = `${object.index} ${outcome}`;
    if (this.#reported.has(key)) return;
    this.#reported.add(key);
    const asked = problems.map(({ repository, reason }) => `${repository.path}: ${reason}`).join('; ');
    this.#log(`${path()}: object ${toHex(object.digest)}: ${asked || 'no repository was given'}: ${outcome}`);
  }
}
