/** What a repository is to a reader: a place that may hold an object, named by its digest. */
import type { HashAlgorithm } from '../base/digest.ts';
import type { Errno } from '../base/errno.ts';
import type { FileVersion } from '../system/file-status.ts';

export interface Repository {
  /** Its name in messages: the directory it was given as, absolute. */
  readonly path: string;
  readonly uuid: string;
  readonly hash: HashAlgorithm;

  /** A descriptor of the object for reading, unverified; ENOENT where it is not here. The caller closes it. */
  open(digest: Uint8Array): number | Errno;

  /** Fills `out` with what the object's file is now, without opening it; ENOENT where it is not here. */
  status(digest: Uint8Array, out: FileVersion): 0 | Errno;

  /**
   * As `status`, at a third of the price: links in place of the directories above the object are followed. So it says nothing
   * but whether the file is one that is known already.
   */
  glance(digest: Uint8Array, out: FileVersion): 0 | Errno;

  /** Size of the object's file in bytes, ENOENT where it is not here; 0, which no object has, where it is no regular file. */
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
 * How an object is verified: hashed as a whole at its first open (`open`); block by block at each read (`read`); by what the
 * kernel has sealed it as (`fsverity`); so where it is sealed, and hashed where not (`auto`); or never (`off`: its size is checked).
 * With `open` and `auto`, what lies on a file system that answers for it as it likes is checked block by block, too.
 */
export type VerifyMode = 'auto' | 'open' | 'read' | 'fsverity' | 'off';

/** Those that verify whole objects, which is what `WholeObjects` does. */
export type WholeMode = Exclude<VerifyMode, 'read'>;

/** How a file is known to be the object. A measured one cannot change any more, and the kernel checks what it reads of it. */
export type Proof = 'hashed' | 'measured';
