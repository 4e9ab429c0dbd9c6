/** A repository that counts its uses. */
import type { HashAlgorithm } from '../../../src/base/digest.ts';
import type { Errno } from '../../../src/base/errno.ts';
import type { ObjectName, Repository } from '../../../src/objects/repository.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { initRepository } from '../../../src/store/open-repository.ts';

import type { FileVersion } from '../../../src/system/file-status.ts';

/** A local repository that counts how often its objects were hashed and opened. */
export class WatchedRepository implements Repository {
  readonly path: string;
  readonly uuid: string;
  hashings = 0;
  opens = 0;
  looks = 0;
  /** Returned in place of every answer of `open`. */
  failing: Errno | undefined;
  readonly #local: LocalRepository;

  constructor(path: string, hash: HashAlgorithm = 'blake3') {
    this.#local = initRepository(path, hash);
    this.path = this.#local.path;
    this.uuid = this.#local.uuid;
  }

  /** Read whenever a content is hashed. */
  get hash(): HashAlgorithm {
    this.hashings++;
    return this.#local.hash;
  }

  /** Sets the counts to 0. */
  reset(): void {
    this.hashings = 0;
    this.opens = 0;
    this.looks = 0;
    this.failing = undefined;
  }

  open(digest: Uint8Array): number | Errno {
    this.opens++;
    return this.failing ?? this.#local.open(digest);
  }

  status(digest: Uint8Array, out: FileVersion): 0 | Errno {
    this.looks++;
    return this.#local.status(digest, out);
  }

  glance(digest: Uint8Array, out: FileVersion): 0 | Errno {
    this.looks++;
    return this.#local.glance(digest, out);
  }

  size(digest: Uint8Array): number | Errno {
    return this.#local.size(digest);
  }

  pathOf(object: ObjectName): string {
    return this.#local.objectPath(object.digest);
  }
}
