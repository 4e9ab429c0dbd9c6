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

  /** Size of the object's file in bytes, ENOENT where it is not here; 0, which no object has, where it is no regular file. */
  size(digest: Uint8Array): number | Errno;
}
