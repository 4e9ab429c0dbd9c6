import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { concatBytes, toHex } from '../../../src/base/bytes.ts';
import {
  BLOCK_SIZE,
  type Blake3,
  blake3,
  blake3Implementation,
  blockCount,
  ContentHasher,
  createDigest,
  DIGEST_SIZE,
  digestContent,
  HASH_ALGORITHMS,
  type HashAlgorithm,
  loadNativeBlake3,
  loadPortableBlake3,
} from '../../../src/base/digest.ts';
import { FsVerityHasher } from '../../../src/base/fsverity-digest.ts';
import { Random } from '../../support/random.ts';

/** The input of the official test vectors: 0, 1, … 250, 0, 1, … */
const vectorInput = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i % 251);

/** BLAKE3-team/BLAKE3, test_vectors/test_vectors.json, the first 32 bytes of "hash" by "input_len"; and "abc". */
const VECTORS: readonly (readonly [length: number, hash: string])[] = [
  [0, 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'],
  [1, '2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213'],
  [1023, '10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11'],
  [1024, '42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7'],
  [1025, 'd00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444'],
  [2048, 'e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a'],
  [2049, '5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030'],
  [3072, 'b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2'],
  [4096, '015094013f57a5277b59d8475c0501042c0b642e531b0a1c8f58d2163229e969'],
  [4097, '9b4052b38f1c5fc8b1f9ff7ac7b27cd242487b3d890d15c96a1c25b8aa0fb995'],
  [6145, 'f1323a8631446cc50536a9f705ee5cb619424d46887f3c376c695b70e0f0507f'],
  [7168, '61da957ec2499a95d6b8023e2b0e604ec7f6b50e80a9678b89d2628e99ada77a'],
];

/** Splits `content` at random places; some pieces are empty, some end on a block boundary. */
function pieces(content: Uint8Array, random: Random): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < content.length; ) {
    const toBoundary = BLOCK_SIZE - (at % BLOCK_SIZE);
    const length = random.pick([0, 1, 4096, toBoundary, toBoundary + 1, random.integer(0, 3 * BLOCK_SIZE)]);
    out.push(content.subarray(at, at + length));
    at += length;
  }
  return out;
}

/** Block hashes as they are defined. */
function blockHashesOf(algorithm: HashAlgorithm, content: Uint8Array): Uint8Array {
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < content.length; at += BLOCK_SIZE) hashes.push(blake3(content.subarray(at, at + BLOCK_SIZE)));
  return algorithm === 'blake3' && hashes.length <= 1 ? new Uint8Array(0) : concatBytes(...hashes);
}

const boundarySizes = [0, 1, 2, 3, 16, 17].flatMap((blocks) =>
  [-1, 0, 1].map((d) => Math.max(0, blocks * BLOCK_SIZE + d)),
);

const text = (digest: { digest: Uint8Array; size: number; blockHashes: Uint8Array }): string =>
  `${toHex(digest.digest)} ${digest.size} ${toHex(digest.blockHashes)}`;

describe('BLAKE3', () => {
  const implementations: readonly (readonly [string, () => Blake3])[] = [
    ['native', loadNativeBlake3],
    ['portable', loadPortableBlake3],
  ];
  for (const [name, load] of implementations) {
    it(`matches the official test vectors (${name})`, () => {
      const implementation = load();
      for (const [length, hash] of VECTORS) {
        expect(toHex(implementation.hash(vectorInput(length)))).toBe(hash);
        const hasher = implementation.create();
        hasher.update(vectorInput(length));
        expect(toHex(hasher.digest())).toBe(hash);
      }
      const abc = '6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85';
      expect(toHex(implementation.hash(Buffer.from('abc')))).toBe(abc);
    });
  }

  it('has the same result natively and portably, in pieces and at once', () => {
    const [native, portable] = [loadNativeBlake3(), loadPortableBlake3()];
    fc.assert(
      fc.property(fc.oneof(fc.nat({ max: 5000 }), fc.nat({ max: 300_000 })), fc.nat(), (length, seed) => {
        const random = new Random(seed);
        const content = random.bytes(length);
        const expected = toHex(native.hash(content));
        expect(toHex(portable.hash(content))).toBe(expected);
        for (const { create } of [native, portable]) {
          const hasher = create();
          for (const piece of pieces(content, random)) hasher.update(piece);
          expect(toHex(hasher.digest())).toBe(expected);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('hashes a part of a larger buffer', () => {
    const buffer = vectorInput(3000);
    for (const { hash } of [loadNativeBlake3(), loadPortableBlake3()]) {
      expect(toHex(hash(buffer.subarray(251, 251 + 1025)))).toBe(VECTORS[4]?.[1]);
    }
  });

  it('is the native one if there is one', () => {
    expect(blake3Implementation().name).toBe('@napi-rs/blake-hash');
  });
});

describe('ContentHasher', () => {
  it('has the same result for pieces as for the whole content', () => {
    const size = fc.oneof(fc.nat({ max: 300_000 }), fc.constantFrom(...boundarySizes));
    fc.assert(
      fc.property(size, fc.nat(), fc.constantFrom(...HASH_ALGORITHMS), (length, seed, algorithm) => {
        const random = new Random(seed);
        const content = random.bytes(length);
        const hasher = new ContentHasher(algorithm);
        for (const piece of pieces(content, random)) hasher.update(piece);
        const whole = createDigest(algorithm);
        whole.update(content);
        const expected = {
          digest: whole.digest(),
          size: length,
          blockHashes: blockHashesOf(algorithm, content),
        };
        expect(text(hasher.finish())).toBe(text(expected));
        expect(text(digestContent(algorithm, content))).toBe(text(expected));
      }),
      { numRuns: 150 },
    );
  });

  it('copies a piece that its caller may overwrite', () => {
    for (const algorithm of HASH_ALGORITHMS) {
      const content = new Random(1).bytes(200_000);
      const hasher = new ContentHasher(algorithm);
      const buffer = new Uint8Array(1000);
      for (let at = 0; at < content.length; at += buffer.length) {
        buffer.set(content.subarray(at, at + buffer.length));
        hasher.update(buffer);
      }
      buffer.fill(0);
      expect(text(hasher.finish())).toBe(text(digestContent(algorithm, content)));
    }
  });

  it('has the same result for a number of zeros as for the zeros themselves', () => {
    const span = fc.record({
      zeros: fc.boolean(),
      length: fc.oneof(fc.nat({ max: 10 }), fc.nat({ max: 200_000 }), fc.constantFrom(...boundarySizes)),
    });
    fc.assert(
      fc.property(fc.array(span, { maxLength: 5 }), fc.constantFrom(...HASH_ALGORITHMS), (spans, algorithm) => {
        const hasher = new ContentHasher(algorithm);
        const plain = new ContentHasher(algorithm);
        for (const { zeros, length } of spans) {
          const content = new Uint8Array(length).fill(zeros ? 0 : 7);
          plain.update(content);
          if (zeros) hasher.updateZeros(length);
          else hasher.update(content);
        }
        expect(text(hasher.finish())).toBe(text(plain.finish()));
      }),
      { numRuns: 150 },
    );
  });

  it('has a block hash for each full or partial 64 KiB, and none if the digest is that hash', () => {
    expect([0, 1, 65536].map((size) => blockCount('blake3', size))).toEqual([0, 0, 0]);
    expect([65537, 131072, 131073].map((size) => blockCount('blake3', size))).toEqual([2, 2, 3]);
    expect([0, 1, 65536, 65537].map((size) => blockCount('fsverity-sha256', size))).toEqual([0, 1, 1, 2]);
    for (const algorithm of HASH_ALGORITHMS) {
      for (const size of boundarySizes) {
        const { blockHashes } = digestContent(algorithm, new Uint8Array(size));
        expect(blockHashes.length).toBe(blockCount(algorithm, size) * DIGEST_SIZE);
      }
    }
  });
});

describe('FsVerityHasher', () => {
  const BLOCK = 4096;
  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(`${tmpdir()}/cfs-verity-`);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  const digestOf = (content: Uint8Array): string => {
    const hasher = new FsVerityHasher();
    hasher.update(content);
    return toHex(hasher.digest());
  };

  it('returns known digests', () => {
    const hello = '37061ef2ac4c21bec68489b56138c5780306a4ad7fe6676236ecdf2c9027cd92';
    expect(digestOf(Buffer.from('hello world\n'))).toBe(hello);
    expect(digestOf(new Uint8Array(0))).toBe('3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95');
  });

  /** The digest as Documentation/filesystems/fsverity.rst defines it, with all levels in memory. */
  function digestByDefinition(content: Uint8Array): string {
    const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
    const hashBlocks = (bytes: Uint8Array): Buffer => {
      const hashes: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += BLOCK) {
        hashes.push(sha256(Buffer.concat([bytes.subarray(at, at + BLOCK), Buffer.alloc(BLOCK)], BLOCK)));
      }
      return Buffer.concat(hashes);
    };
    let level = hashBlocks(content);
    while (level.length > 32) level = hashBlocks(level);
    const descriptor = Buffer.alloc(256);
    descriptor.set([1, 1, 12, 0]);
    descriptor.writeBigUInt64LE(BigInt(content.length), 8);
    level.copy(descriptor, 16);
    return sha256(descriptor).toString('hex');
  }

  const sizes = [0, 1, 2, 128, 129, 256].flatMap((blocks) => [-1, 0, 1].map((d) => Math.max(0, blocks * BLOCK + d)));

  it('matches the definition, in pieces of any length', () => {
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...sizes), fc.nat({ max: 2_000_000 })), fc.nat(), (length, seed) => {
        const random = new Random(seed);
        const content = Buffer.concat([random.bytes(Math.min(length, 10_000)), Buffer.alloc(length)], length);
        const hasher = new FsVerityHasher();
        for (const piece of pieces(content, random)) hasher.update(piece);
        expect(toHex(hasher.digest())).toBe(digestByDefinition(content));
      }),
      { numRuns: 60 },
    );
  });

  const tool = hasFsverity();
  // if CI says that everything is installed, a missing tool must not pass as a test
  it.runIf(tool || process.env['CI'] !== undefined)('matches fsverity(1), at every boundary of the tree', () => {
    const path = `${directory}/content`;
    const reference = (): string =>
      execFileSync('fsverity', ['digest', '--compact', path], { encoding: 'utf8' }).trim();
    for (const size of sizes) {
      const content = new Random(size).bytes(size);
      writeFileSync(path, content);
      expect(digestOf(content), `${size} bytes`).toBe(reference());
    }
    // from 64 MiB on the tree has a third level: a hole with a byte before its end
    for (const size of [-1, 0, 1].map((d) => BLOCK * 128 * 128 + d)) {
      const fd = openSync(path, 'w');
      ftruncateSync(fd, size);
      closeSync(fd);
      const hasher = new ContentHasher('fsverity-sha256');
      hasher.updateZeros(size);
      expect(toHex(hasher.finish().digest), `${size} bytes`).toBe(reference());
    }
  });
});

function hasFsverity(): boolean {
  try {
    execFileSync('fsverity', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
