/** The source of the contents of a mount, with any kind of verification. */
import type { Errno } from '../base/errno.ts';
import type { FileVersion } from '../system/file-status.ts';
import type { ObjectName, Proof } from './repository.ts';

/**
 * Returned in place of a descriptor: the object exists, but the owner of its file may serve other bytes each time, and
 * report any times. So hashing it once proves nothing about later reads: only `read` verifies it.
 */
export const BY_BLOCKS: unique symbol = Symbol('by blocks');

/**
 * Asked for an object of which no repository has a good copy. It may come from elsewhere: undefined if the caller is to
 * return DEFERRED, and the request to be answered when the object has come; else why it does not come, for the log.
 */
export type Elsewhere = (object: ObjectName) => string | undefined;

/** One per thread. `path` returns the path of a file with this content, for the log. */
export interface ContentSource {
  /** Every object is read by `read`: nothing is opened. */
  readonly openless: boolean;

  /** `fileIdentity` of the file that `open` returned last, as of the check before its verification. */
  readonly openedIdentity: number;

  /**
   * A descriptor of the verified object; EIO if no repository has a good copy, or DEFERRED; BY_BLOCKS if only `read`
   * verifies it.
   */
  open(object: ObjectName, path: () => string): number | Errno | typeof BY_BLOCKS;

  /** `fileIdentity` of the file that `open` would open now, if that is known without opening it; else -1. */
  current(object: ObjectName): number;

  /**
   * Reads at `offset` into all of `into`, which must not reach beyond the end of the object; every block is verified.
   * @returns the bytes read, `into.length`; EIO if no repository has a good copy of every block, or DEFERRED
   */
  read(object: ObjectName, offset: number, into: Uint8Array, path: () => string): number | Errno;

  /** How the file with this status was verified as this object; undefined if it was not, or has changed since. */
  proofOf(object: ObjectName, status: FileVersion): Proof | undefined;

  /**
   * Prepares for a fast open and fast reads: verifies the object, if it is verified as a whole, and loads its pages
   * into memory.
   */
  prefetch(object: ObjectName): void;
}
