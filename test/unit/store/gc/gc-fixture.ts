/** A repository for each test, with images and their objects, and garbage collection in it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach } from 'vitest';
import { compareBytes, toHex } from '../../../../src/base/bytes.ts';
import { digestContent } from '../../../../src/base/digest.ts';
import { collectGarbage, type GcOptions, type GcResult } from '../../../../src/store/gc/gc.ts';
import type { KeptImage } from '../../../../src/store/gc/object-list-file.ts';
import type { LocalRepository } from '../../../../src/store/local-repository.ts';
import { initRepository } from '../../../../src/store/open-repository.ts';
import { Random } from '../../../support/random.ts';
import { useScratch } from '../scratch.ts';

export interface TestImage extends KeptImage {
  readonly objects: readonly string[];
}

/** Created once in a test file; the repository is new for each test. */
export class GcFixture {
  readonly #random = new Random(31);
  #serial = 0;
  #repository: LocalRepository | undefined;

  constructor() {
    const at = useScratch();
    beforeEach(() => {
      this.#repository = initRepository(at(`r${this.#serial++}`), 'blake3');
    });
  }

  get repository(): LocalRepository {
    return this.#repository as LocalRepository;
  }

  get leasesDirectory(): string {
    return join(this.repository.path, 'leases');
  }

  /** Stores `count` new objects, and returns an image of them and of `shared`. */
  image(count: number, shared: readonly Uint8Array[] = []): TestImage {
    const digests = Array.from({ length: count }, () => {
      const content = this.#random.bytes(200);
      const { digest } = digestContent('blake3', content);
      writeFileSync(this.repository.objectPath(digest), content, { mode: 0o444 });
      return digest;
    });
    const all = [...digests, ...shared].sort(compareBytes);
    return {
      image: toHex(this.#random.bytes(32)),
      hash: 'blake3',
      bytes: 200 * all.length,
      path: '',
      complete: true,
      digests: Buffer.concat(all),
      objects: digests.map(toHex),
    };
  }

  gc(options: Partial<GcOptions> = {}): Promise<GcResult> {
    return collectGarbage(this.repository, {
      keep: [],
      minAgeMs: 0,
      dryRun: false,
      keepNone: false,
      emptyQuarantine: false,
      ...options,
    });
  }
}

/** Of all objects that an image needs, in ascending order. */
export const digestsOf = ({ digests }: TestImage): Uint8Array[] =>
  Array.from({ length: digests.length / 32 }, (_, i) => digests.slice(i * 32, (i + 1) * 32));
