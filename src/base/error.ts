/**
 * Errors that a person is meant to read. Everything else that is thrown is a bug.
 */

/**
 * What kind of thing went wrong; the tools map each to an exit status (table in the README).
 * - usage: the command line or an option is wrong
 * - source: what is being packed cannot be read, or changed meanwhile
 * - image: the image is malformed or not the one that was asked for
 * - store: a repository is missing, of another kind, damaged, full or not accessible
 * - mount: the mount itself failed
 * - system: anything else that the machine refused
 * - interrupted: a signal ended the work
 */
export type ErrorKind = 'usage' | 'source' | 'image' | 'store' | 'mount' | 'system' | 'interrupted';

/** An error with a complete message: what could not be done, on what, why, and what to do about it. */
export class CfsError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CfsError';
    this.kind = kind;
  }
}

/** The reason in a thrown value, without node's decoration: "no such file or directory" rather than "ENOENT: …, open '…'". */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const match = /^[A-Z0-9]+: (.*?)(?:, [a-z]+(?: .*)?)?$/s.exec(error.message);
  return match?.[1] ?? error.message;
}
