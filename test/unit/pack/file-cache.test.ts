import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { type ContentDigest, digestContent, type HashAlgorithm } from '../../../src/base/digest.ts';
import { FileCache, SETTLED_MS } from '../../../src/pack/file-cache.ts';
import { decodeFileCache, FileTable } from '../../../src/pack/file-cache-format.ts';
import { checkObjects, ObjectState, objectCheck } from '../../../src/pack/object-check.ts';
import type { FileStamp } from '../../../src/pack/source.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { ObjectWriter } from '../../../src/store/object-writer.ts';
import { initRepository } from '../../../src/store/open-repository.ts';
import { Random } from '../../support/random.ts';
import { isRoot } from '../../support/root.ts';
import { useScratch } from '../store/scratch.ts';

const random = new Random(5);
const fileSystem = { device: 7, id: [0xffffffff, 1] } as const;

const stampOf = (inode: number, changes: Partial<FileStamp> = {}): FileStamp => ({
  fileSystem,
  inode,
  size: 100,
  mtime: -5,
  mtimeNsec: 999_999_999,
  ctime: 1_600_000_000,
  ctimeNsec: 1,
  ...changes,
});

const contentOf = (size: number, hash: HashAlgorithm = 'blake3'): ContentDigest =>
  digestContent(hash, random.bytes(size));

/** The entry of a stamp in a table. */
function lookUp(table: FileTable | undefined, stamp: FileStamp): ContentDigest | undefined {
  const row = table?.find(stamp);
  return row === undefined ? undefined : table?.content(row);
}

const plain = (content: ContentDigest | undefined): unknown =>
  content && { size: content.size, digest: [...content.digest], blockHashes: [...content.blockHashes] };

/** Files of sizes with and without block hashes, on two file systems. */
function sampleTable(hash: HashAlgorithm = 'blake3'): { table: FileTable; entries: [FileStamp, ContentDigest][] } {
  const table = new FileTable(hash);
  const other = { device: 2 ** 40, id: [0, 0] } as const;
  const entries = [100, 65_536, 65_537, 1, 200_000].flatMap((size, i): [FileStamp, ContentDigest][] => [
    [stampOf(2 ** 52 + i, { size }), contentOf(size, hash)],
    [stampOf(2 ** 52 + i, { size, fileSystem: other }), contentOf(size, hash)],
  ]);
  for (const [stamp, content] of entries) table.add(stamp, content);
  return { table, entries };
}

describe('FileTable', () => {
  test.each(['blake3', 'fsverity-sha256'] as const)('returns after decode() the added files, by %s', (hash) => {
    const { table, entries } = sampleTable(hash);
    const decoded = decodeFileCache(table.encode(), hash);
    expect(decoded?.length).toBe(entries.length);
    for (const [stamp, content] of entries) expect(plain(lookUp(decoded, stamp))).toEqual(plain(content));
    expect(decoded?.encode()).toEqual(table.encode());
  });

  test.each([
    { inode: 2 },
    { size: 101 },
    { mtime: -4 },
    { mtimeNsec: 0 },
    { ctime: 1_600_000_001 },
    { ctimeNsec: 2 },
    { fileSystem: { device: 8, id: [0xffffffff, 1] } },
    { fileSystem: { device: 7, id: [0xffffffff, 2] } },
  ] satisfies Partial<FileStamp>[])('finds nothing with another %j', (changes) => {
    const table = new FileTable('blake3');
    table.add(stampOf(1), contentOf(100));
    expect(table.find(stampOf(1))).toBe(0);
    expect(table.find(stampOf(1, changes))).toBeUndefined();
  });

  test('without entries is a file, too', () => {
    expect(decodeFileCache(new FileTable('blake3').encode(), 'blake3')?.length).toBe(0);
  });
});

describe('decodeFileCache()', () => {
  const bytes = sampleTable().table.encode();

  test('returns nothing for another algorithm, or a later version', () => {
    expect(decodeFileCache(bytes, 'fsverity-sha256')).toBeUndefined();
    const later = bytes.slice();
    later[8] = 2;
    expect(decodeFileCache(later, 'blake3')).toBeUndefined();
  });

  test('returns nothing for bytes that are truncated, or followed by others', () => {
    for (let length = 0; length < bytes.length; length++) {
      expect(decodeFileCache(bytes.subarray(0, length), 'blake3')).toBeUndefined();
    }
    expect(decodeFileCache(Buffer.concat([bytes, Buffer.alloc(32)]), 'blake3')).toBeUndefined();
  });

  test('returns nothing if any bit differs', () => {
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const damaged = bytes.slice();
        damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(decodeFileCache(damaged, 'blake3')).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  test('returns nothing for a file that is not a cache', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (tail, withMagic) => {
        const input = withMagic ? Buffer.concat([bytes.subarray(0, 16), tail]) : tail;
        expect(decodeFileCache(input, 'blake3')).toBeUndefined();
      }),
    );
  });

  test('accepts bytes at any offset', () => {
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(decodeFileCache(shifted.subarray(3), 'blake3')?.length).toBe(10);
  });
});

describe('FileCache', () => {
  const at = useScratch();
  let serial = 0;
  let repository: LocalRepository;
  const content = (bytes = random.bytes(100)): ContentDigest => {
    const writer = new ObjectWriter(repository, { durable: false, prefix: 'run-' });
    try {
      return writer.putBytes(bytes);
    } finally {
      writer.close();
    }
  };
  const open = (rehash = false, source = 'source'): FileCache =>
    new FileCache(repository, { source, prefix: 'run-', rehash });
  const cacheFiles = (): string[] => readdirSync(repository.cacheDirectory);
  const cacheFile = (): string => join(repository.cacheDirectory, cacheFiles()[0] as string);

  beforeEach(() => {
    repository = initRepository(at(`store${serial++}`), 'blake3');
  });

  /** A cache that has one file. */
  function remember(stamp = stampOf(1), known = content()): ContentDigest {
    const cache = open();
    cache.add(stamp, known);
    cache.save();
    return known;
  }

  test('remembers until the next run', () => {
    const known = remember();
    expect(plain(open().find(stampOf(1)))).toEqual(plain(known));
    expect(statSync(cacheFile()).mode & 0o777).toBe(0o600);
    expect(readdirSync(repository.temporaryDirectory)).toEqual([]);
  });

  test('forgets the files that a run has not seen, and keeps the others', () => {
    remember();
    const second = open();
    second.find(stampOf(1));
    second.add(stampOf(2), content());
    second.save();
    const third = open();
    expect(third.find(stampOf(2))).toBeDefined();
    third.save();
    expect(open().find(stampOf(1))).toBeUndefined();
  });

  test('finds nothing for a stamp that changed, with rehash, or for another source', () => {
    remember();
    expect(open().find(stampOf(1, { ctimeNsec: 7 }))).toBeUndefined();
    expect(open(true).find(stampOf(1))).toBeUndefined();
    expect(open(false, 'other').find(stampOf(1))).toBeUndefined();
  });

  test('finds nothing if the object is gone, or has another size', () => {
    const known = remember();
    const path = repository.objectPath(known.digest);
    unlinkSync(path);
    expect(open().find(stampOf(1))).toBeUndefined();
    writeFileSync(path, random.bytes(99));
    expect(open().find(stampOf(1))).toBeUndefined();
    writeFileSync(path, random.bytes(100));
    expect(open().find(stampOf(1))).toBeDefined();
  });

  test('uses the results of threads that looked for the objects', () => {
    remember();
    for (const state of [ObjectState.missing, ObjectState.stored]) {
      const cache = open();
      cache.objects?.found.fill(state);
      expect(cache.find(stampOf(1)) !== undefined).toBe(state === ObjectState.stored);
    }
  });

  test('a file that changed within SETTLED_MS is not settled, and neither is one of the future', () => {
    const stampAgo = (ms: number): FileStamp => {
      const then = Date.now() - ms;
      return stampOf(1, { ctime: Math.floor(then / 1000), ctimeNsec: (then % 1000) * 1e6 });
    };
    expect(open().isSettled(stampAgo(SETTLED_MS + 1000))).toBe(true);
    for (const ms of [SETTLED_MS - 500, 0, -1000, -1e9]) expect(open().isSettled(stampAgo(ms))).toBe(false);
  });

  test.each([
    ['empty', (path: string) => writeFileSync(path, '')],
    ['writable for others', (path: string) => chmodSync(path, 0o666)],
    ['cut off', (path: string) => writeFileSync(path, readFileSync(path).subarray(0, 70))],
    [
      'a directory',
      (path: string) => {
        unlinkSync(path);
        mkdirSync(path);
      },
    ],
  ])('uses nothing from a file that is %s', (_what, damage) => {
    remember();
    damage(cacheFile());
    expect(open().find(stampOf(1))).toBeUndefined();
    open().save();
  });

  test.runIf(isRoot)('uses nothing from a file of another user', () => {
    remember();
    chownSync(cacheFile(), 65_534, 65_534);
    expect(open().find(stampOf(1))).toBeUndefined();
    open().save();
  });

  test('is no error if it cannot be written', () => {
    writeFileSync(repository.cacheDirectory, 'in the way');
    remember();
    expect(readFileSync(repository.cacheDirectory, 'utf8')).toBe('in the way');
  });

  test('writes no file if there is nothing to remember', () => {
    open().save();
    expect(existsSync(repository.cacheDirectory)).toBe(false);
  });

  test('keeps the files of 32 sources', () => {
    for (let i = 0; i < 40; i++) {
      const cache = open(false, `s${i}`);
      cache.add(stampOf(1), content());
      cache.save();
    }
    expect(cacheFiles()).toHaveLength(32);
    expect(cacheFiles().some((name) => name.endsWith('-s39'))).toBe(true);
  });
});

describe('checkObjects()', () => {
  test.each([1, 2, 3])('checks every object once, with %i threads', (threads) => {
    const n = 1000;
    const check = objectCheck(
      random.bytes(n * 32),
      new Float64Array(n).map((_, i) => i),
    );
    const looked = new Uint8Array(n);
    for (let thread = 0; thread < threads; thread++) {
      const isStored = (_digest: Uint8Array, size: number): boolean => {
        looked[size] = (looked[size] as number) + 1;
        return size % 3 === 0;
      };
      checkObjects(check, thread, threads, isStored, () => {});
    }
    expect(looked.every((count) => count === 1)).toBe(true);
    expect([...check.found]).toEqual(Array.from({ length: n }, (_, i) => (i % 3 === 0 ? 1 : 2)));
  });
});
