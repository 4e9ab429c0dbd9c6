/**
 * Errors for people. Any other exception is a bug.
 */

/**
 * The kind of error; the tools map each to an exit status (table in docs/exit-status.md).
 * - usage: the command line or an option is wrong
 * - source: the source cannot be read, or changed while it was packed
 * - image: the image is malformed or not the requested one
 * - store: a repository is missing, of another kind, damaged, full or not accessible
 * - mount: the mount itself failed
 * - system: any other failure of the machine
 * - interrupted: a signal ended the work
 * @example
 * import { CfsError, type ErrorKind, openImage } from '@cfs-images/cfs';
 *
 * const kindOf = (error: unknown): ErrorKind | undefined => (error instanceof CfsError ? error.kind : undefined);
 * try {
 *   openImage('/srv/nothing.cfs');
 * } catch (error) {
 *   console.log(kindOf(error) === 'image');
 * }
 */
export type ErrorKind = 'usage' | 'source' | 'image' | 'store' | 'mount' | 'system' | 'interrupted';

/** Optional parts of a CfsError. */
export interface ErrorDetails {
  readonly cause?: unknown;
  readonly hint?: string | undefined;
}

/**
 * An error with a complete message: what could not be done, on what, and why. It names no command and no option of a
 * command line.
 * @example
 * import { CfsError, openRepository } from '@cfs-images/cfs';
 *
 * try {
 *   openRepository('/srv/nowhere');
 * } catch (error) {
 *   if (!(error instanceof CfsError)) throw error;
 *   console.error(error.kind, error.message, error.hint);
 * }
 */
export class CfsError extends Error {
  readonly kind: ErrorKind;
  /**
   * The remedy: sentences. A word in backquotes is a function or an option of the library; the tools replace it by
   * their own commands and options (tools/hint-words.ts).
   */
  readonly hint: string | undefined;

  constructor(kind: ErrorKind, message: string, { hint, ...options }: ErrorDetails = {}) {
    super(message, options);
    this.name = 'CfsError';
    this.kind = kind;
    this.hint = hint;
  }
}

/** A message and its hint, as one text. */
export function withHint(message: string, hint: string | undefined): string {
  if (hint === undefined) return message;
  return `${message}${/[.!?]$/.test(message) ? '' : '.'} ${hint}`;
}

/** A call of the library for a hint: `registerImage("/store", "/srv/a.cfs")`, in backquotes. */
export const callText = (name: string, ...args: readonly unknown[]): string =>
  `\`${name}(${args.map((argument) => JSON.stringify(argument)).join(', ')})\``;

/** The reason in a thrown value, without node's decoration: "no such file or directory" for "ENOENT: …, open '…'". */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const match = /^[A-Z0-9]+: (.*?)(?:, [a-z]+(?: .*)?)?$/s.exec(error.message);
  return match?.[1] ?? error.message;
}
