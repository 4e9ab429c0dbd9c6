/** Where the contents of a mount come from, whatever verifies them. */
import type { Errno } from '../base/errno.ts';
import type { FileVersion } from '../system/file-status.ts';
import type { ObjectName, Proof } from './repository.ts';

/**
 * In place of a descriptor: the object is there, but the owner of its file may serve other bytes each time, and report any
 * times. What was hashed says nothing of what is read later: only `read` verifies it.
 */
export const BY_BLOCKS: unique symbol = Symbol('by blocks');

/** One a thread. `path` returns the path of a file with this content, for the log. */
export interface ContentSource {
  /** Every object is read by `read`: nothing is opened. */
  readonly openless: boolean;

  /** `fileIdentity` of the file that `open` has returned last, as it was when it was looked at to be verified. */
  readonly openedIdentity: number;

  /** A descriptor of the object, verified; EIO where no repository has a good copy; BY_BLOCKS where only `read` verifies it. */
  open(object: ObjectName, path: () => string): number | Errno | typeof BY_BLOCKS;

  /** `fileIdentity` of the file that `open` would open now, where that is known without opening it; else -1. */
  current(object: ObjectName): number;

  /**
   * Reads at `offset` into all of `into`, which must not reach beyond the end of the object; every block is verified.
   * @returns the bytes read, `into.length`; EIO where no repository has a good copy of every block
   */
  read(object: ObjectName, offset: number, into: Uint8Array, path: () => string): number | Errno;

  /** How the file with this status was verified as this object; undefined where it was not, or has changed since. */
  proofOf(object: ObjectName, status: FileVersion): Proof | undefined;

  /** Makes the object quick to open and to read: has it verified where it is verified as a whole, and its pages in memory. */
  prefetch(object: ObjectName): void;
}
