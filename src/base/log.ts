/** What a mount has to say of itself: lines for people, and what a line about an object says for programs. */

/** `error`: a reader got EIO, or the mount does not go on as it should; `info`: nothing is wrong; `debug`: only where that was asked for. */
export type Severity = 'error' | 'warning' | 'info' | 'debug';

/** What became of asking a repository for an object: it served; has none; has one that is not the object; failed to open or read it. */
export type RepositoryOutcome = 'served' | 'missing' | 'damaged' | 'failed';

/** What repositories answered when they were asked for an object. */
export interface ObjectProblem {
  /** Among the image's objects. */
  readonly index: number;
  /** Hexadecimal. */
  readonly digest: string;
  /** Of the repositories that had no good copy, in the order in which they were asked. */
  readonly copies: readonly CopyAnswer[];
}

export interface CopyAnswer {
  /** The number of the source: 1 for the first repository. */
  readonly repository: number;
  readonly outcome: Exclude<RepositoryOutcome, 'served'>;
  readonly reason: string;
}

/** A line is a warning where no severity is given. */
export type Log = (line: string, severity?: Severity, about?: ObjectProblem) => void;

/** A text of at most `most` characters: the middle of a longer one is left out. */
export function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}
