/** fs-verity for files on a file system without it: keeps seals by inode, and computes the kernel's digest. */
import { fstatSync, readFileSync } from 'node:fs';
import { createDigest } from '../../../src/base/digest.ts';
import { EEXIST, ENODATA, type Errno } from '../../../src/base/errno.ts';
import type { Verity } from '../../../src/store/seal-file.ts';
import type { VerityDigest } from '../../../src/system/fsverity.ts';

/** The digest with which the kernel would seal `content`. */
export function verityDigest(content: Uint8Array): VerityDigest {
  const hasher = createDigest('fsverity-sha256');
  hasher.update(content);
  return { algorithm: 'sha256', digest: hasher.digest() };
}

export class FakeVerity implements Verity {
  readonly #sealed = new Map<number, VerityDigest>();
  measured = 0;
  /** Returned in place of every answer. */
  failing: Errno | undefined;

  readonly measure = (fd: number): VerityDigest | Errno => {
    this.measured++;
    return this.failing ?? this.#sealed.get(fstatSync(fd).ino) ?? ENODATA;
  };

  readonly enable = (fd: number): 0 | Errno => {
    const { ino } = fstatSync(fd);
    if (this.failing !== undefined) return this.failing;
    if (this.#sealed.has(ino)) return EEXIST;
    this.#sealed.set(ino, verityDigest(readFileSync(`/proc/self/fd/${fd}`)));
    return 0;
  };
}
