/** Log output of a mount: lines for people, and the data of a line about an object for programs. */

/**
 * `error`: a reader got EIO, or the mount does not continue normally; `notice`: something was mended; `info`: nothing
 * is wrong; `debug`: only on request.
 */
export type Severity = 'error' | 'warning' | 'notice' | 'info' | 'debug';

/** Kinds of lines that programs look for; docs/log.md lists them. */
export type LogEvent =
  | 'object-refused'
  | 'object-passed-over'
  | 'objects-missing'
  | 'other-image'
  | 'request-failed'
  | 'server-took-over'
  | 'server-cannot-continue'
  | 'supervisor-restarted'
  | 'dead-mount-removed';

/**
 * The outcome of looking for an object in a repository: it served it; has none; has a file that is not the object;
 * failed to open or read it.
 */
export type RepositoryOutcome = 'served' | 'missing' | 'damaged' | 'failed';

/** The outcomes at the repositories for one object. */
export interface ObjectProblem {
  /** Among the image's objects. */
  readonly index: number;
  /** Hexadecimal. */
  readonly digest: string;
  /** The repositories that had no good copy, in search order. */
  readonly copies: readonly CopyAnswer[];
}

export interface CopyAnswer {
  /** The number of the source: 1 for the first repository. */
  readonly repository: number;
  readonly outcome: Exclude<RepositoryOutcome, 'served'>;
  readonly reason: string;
}

/** A line is a warning unless a severity is given. */
export type Log = (line: string, severity?: Severity, about?: ObjectProblem, event?: LogEvent) => void;

/** A text of at most `most` characters: the middle of a longer one is cut out. */
export function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}
