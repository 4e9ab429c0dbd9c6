/** The reader's interface of a repository: a place that may have an object, named by its digest. */
import type { HashAlgorithm } from '../base/digest.ts';
import type { Errno } from '../base/errno.ts';
import type { FileVersion } from '../system/file-status.ts';

export interface Repository {
  /** Its name in messages: the directory as given, absolute. */
  readonly path: string;
  readonly uuid: string;
  readonly hash: HashAlgorithm;

  /** A descriptor of the object for reading, unverified; ENOENT if it is not here. The caller closes it. */
  open(digest: Uint8Array): number | Errno;

  /** Fills `out` with the current status of the object's file, without opening it; ENOENT if it is not here. */
  status(digest: Uint8Array, out: FileVersion): 0 | Errno;

  /**
   * As `status`, at a third of the cost: symbolic links in place of the directories above the object are followed. So
   * the result only tells whether the file is one that is known already.
   */
  glance(digest: Uint8Array, out: FileVersion): 0 | Errno;

  /**
   * Size of the object's file in bytes, ENOENT if it is not here; 0, which no object has, if it is not a regular file.
   */
  size(digest: Uint8Array): number | Errno;
}

/** One object as its image names it. */
export interface ObjectName {
  /** Index among the image's objects. */
  readonly index: number;
  readonly digest: Uint8Array;
  readonly size: number;
}

/**
 * How an object is verified: hashed as a whole at its first open (`open`); block by block at each read (`read`); by its
 * fs-verity seal (`fsverity`); by the seal if it has one, else hashed (`auto`); or never (`off`: its size is checked).
 * With `open` and `auto`, objects on a file system that may report anything are checked block by block, too.
 */
export type VerifyMode = 'auto' | 'open' | 'read' | 'fsverity' | 'off';

/** The modes that verify whole objects: those of `WholeObjects`. */
export type WholeMode = Exclude<VerifyMode, 'read'>;

/**
 * How a file is known to be the object. A measured one can no longer change, and the kernel checks its pages when it
 * reads them.
 */
export type Proof = 'hashed' | 'measured';
