/** What a rebase finds in an upper layer, beside what the new image has at the same names. */
import { type Errno, isErrno } from '../../base/errno.ts';
import type { InodeIdentity } from '../../base/handle-format.ts';
import { systemError } from '../../system/libc.ts';
import type { Directory } from '../directories.ts';
import type { Layer } from '../layer.ts';

/** A directory of the upper layer. */
export interface Found extends Directory {
  readonly name: Uint8Array;
  readonly path: Uint8Array;
  /** The directory of the new image at its place; -1 for none. */
  readonly next: number;
  readonly below: Found[];
  readonly files: { readonly name: Uint8Array; readonly file: FoundFile }[];
  /** Whiteouts that hide names of the new image, those that it needs, and those that hide none. */
  readonly hiding: Uint8Array[];
  readonly missing: Uint8Array[];
  readonly idle: Uint8Array[];
  readonly mtime: readonly [number, number, number];
  isSame: boolean;
}

/** A file of the upper layer that is not a directory. */
export interface FoundFile {
  readonly row: number;
  readonly path: Uint8Array;
  /** What the new image has at its first name; -1 for none. */
  readonly next: number;
  /** Whether it has the same at all of them. */
  isOneInode: boolean;
  names: number;
  /** Names that are not in the upper layer. */
  hasLowerNames: boolean;
  isDropped: boolean;
}

/** The identity that a row has in the mount. */
export const identityOfRow = ({ table }: Layer, row: number): InodeIdentity => ({
  id: table.id(row),
  generation: table.generation(row),
});

/** Throws a `systemError` for an error. */
export function required<T>(result: T | Errno, path: Uint8Array): T {
  if (isErrno(result as number)) throw systemError(result as Errno, 'rebase', Buffer.from(path).toString());
  return result as T;
}
