/** Errors about the directories of the upper layer. */
import { EROFS, type Errno, isFull } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { errnoText } from '../system/libc.ts';

/** One of the two directories, as its user named it. */
export interface NamedDirectory {
  readonly option: 'upperdir' | 'workdir';
  readonly path: string;
}

export const refusalText = ({ option, path }: NamedDirectory, reason: string): string =>
  `Cannot use ${path} as ${option}: ${reason}`;

/** An error with the reason why a directory cannot be used. */
export const refusal = (named: NamedDirectory, reason: string, hint?: string): CfsError =>
  new CfsError('mount', refusalText(named, reason), { hint });

/** The same for a system call that failed. `what`: "cannot make index in it". */
export function failed(directory: NamedDirectory, what: string, errno: Errno, hint?: string): CfsError {
  return refusal(directory, `${what}: ${errnoText(errno)}`, hint ?? hintOf(errno));
}

function hintOf(errno: Errno): string | undefined {
  if (errno === EROFS) return 'Its file system is mounted read-only.';
  if (isFull(errno)) return 'Make room on its file system.';
  return undefined;
}
