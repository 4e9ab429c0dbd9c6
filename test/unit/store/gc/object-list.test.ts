import { closeSync, mkdtempSync, openSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { compareBytes, toHex } from '../../../../src/base/bytes.ts';
import { blake3, DIGEST_SIZE, type HashAlgorithm } from '../../../../src/base/digest.ts';
import { decodeKeepHeader, KEEP_HEADER_SIZE } from '../../../../src/store/gc/object-list.ts';
import { KeepListFile, type KeptImage, writeKeepList } from '../../../../src/store/gc/object-list-file.ts';
import { StoreDirectory } from '../../../../src/store/store-directory.ts';
import { Random } from '../../../support/random.ts';
import { failureOf } from '../failure.ts';
import { useScratch } from '../scratch.ts';

const at = useScratch();
const random = new Random(5);
const IMAGE = 'ab'.repeat(32);
let serial = 0;

const digestsOf = (count: number): Uint8Array =>
  Buffer.concat(Array.from({ length: count }, () => random.bytes(DIGEST_SIZE)).sort(compareBytes));

async function written(digests: Uint8Array, about: Partial<KeptImage> = {}): Promise<string> {
  const path = at(`list${serial++}`);
  const fd = openSync(path, 'wx+');
  await writeKeepList(fd, {
    image: IMAGE,
    hash: 'blake3',
    bytes: 123,
    path: '/an/image.cfs',
    complete: true,
    digests,
    ...about,
  });
  closeSync(fd);
  return path;
}

function openList(path: string, hash: HashAlgorithm): KeepListFile {
  const directory = StoreDirectory.at(dirname(path));
  try {
    return KeepListFile.open(directory, basename(path), hash);
  } finally {
    directory.close();
  }
}

function digestsIn(list: KeepListFile): Uint8Array {
  return Buffer.concat(Array.from({ length: 256 }, (_, prefix) => list.digests(prefix)));
}

describe('a keep list', () => {
  test.each([0, 1, 2, 1000, 70_000])('of %i digests returns the digests that were written', async (count) => {
    const digests = digestsOf(count);
    const before = Math.floor(Date.now() / 1000);
    const list = openList(await written(digests), 'blake3');
    expect(list.header).toMatchObject({
      hash: 'blake3',
      image: IMAGE,
      objects: count,
      bytes: 123,
      path: '/an/image.cfs',
      complete: true,
    });
    expect(list.header.time).toBeGreaterThanOrEqual(before);
    expect(list.header.time).toBeLessThanOrEqual(Date.now() / 1000);
    expect(Buffer.compare(digestsIn(list), digests)).toBe(0);
    for (let prefix = 0; prefix < 256; prefix++) {
      const part = list.digests(prefix);
      for (let row = 0; row < part.length; row += DIGEST_SIZE) expect(part[row]).toBe(prefix);
    }
    list.close();
  });

  test.each(['', '/x', `/${'y'.repeat(31)}`, `/${'ü'.repeat(500)}`])('keeps the path %j', async (path) => {
    const list = openList(await written(digestsOf(3), { path }), 'blake3');
    expect(list.header.path).toBe(path);
    list.close();
  });

  test('has the bytes that docs/repository.md specifies', async () => {
    const digests = digestsOf(2);
    const bytes = readFileSync(await written(digests));
    expect(bytes.length).toBe(128 + 32 + 64);
    expect(bytes.subarray(0, 8).toString()).toBe('cfs-keep');
    expect([8, 12, 16, 20].map((offset) => bytes.readUInt32LE(offset))).toEqual([1, 0, 1, 13]);
    expect([24, 32].map((offset) => Number(bytes.readBigUInt64LE(offset)))).toEqual([2, 123]);
    expect(toHex(bytes.subarray(64, 96))).toBe(IMAGE);
    expect(bytes.subarray(128, 160).toString()).toBe('/an/image.cfs'.padEnd(32, '\0'));
    expect(bytes.subarray(160).equals(digests)).toBe(true);
    const header = Buffer.from(bytes.subarray(0, 128)).fill(0, 96);
    expect(bytes.subarray(96, 128).equals(blake3(Buffer.concat([header, blake3(bytes.subarray(128))])))).toBe(true);
  });

  test('with any bit flipped, or cut off anywhere, is refused', async () => {
    const path = await written(digestsOf(3));
    const good = readFileSync(path);
    for (let i = 0; i < good.length; i++) {
      const bad = Buffer.from(good);
      bad[i] = (bad[i] as number) ^ (1 << (i % 8));
      writeFileSync(path, bad);
      expect(failureOf(() => openList(path, 'blake3')).kind, `byte ${i}`).toBe('store');
    }
    writeFileSync(path, good);
    for (let size = good.length - 1; size >= 0; size -= 7) {
      truncateSync(path, size);
      expect(failureOf(() => openList(path, 'blake3')).message).toContain(`${path} is malformed: `);
    }
  });

  test.each([
    ['that do not ascend', (digests: Buffer) => Buffer.concat([digests.subarray(32), digests.subarray(0, 32)])],
    ['of which one comes twice', (digests: Buffer) => Buffer.concat([digests.subarray(0, 32), digests])],
  ])('with digests %s is refused, with any checksum', async (_what, change) => {
    const path = await written(change(Buffer.from(digestsOf(3))));
    expect(failureOf(() => openList(path, 'blake3')).message).toContain('its digests do not ascend');
  });

  test.each([
    ['size', 32, 2n ** 53n],
    ['time', 40, 8_640_000_000_001n],
  ])('with a %s that is too large for a number is refused', async (_what, offset, value) => {
    const bytes = readFileSync(await written(digestsOf(1)));
    bytes.writeBigUInt64LE(value - 1n, offset);
    expect(decodeKeepHeader(bytes, bytes.length)).toMatchObject({ objects: 1 });
    bytes.writeBigUInt64LE(value, offset);
    expect(decodeKeepHeader(bytes, bytes.length)).toBe('a number in it is out of range');
  });

  test('of another hash is refused', async () => {
    const path = await written(digestsOf(3), { hash: 'fsverity-sha256' });
    expect(failureOf(() => openList(path, 'blake3')).message).toContain('names objects by fsverity-sha256');
  });

  test('has the date 1970 if the clock is before that', async () => {
    const clock = vi.spyOn(Date, 'now').mockReturnValue(-86_400_000);
    try {
      const list = openList(await written(digestsOf(1)), 'blake3');
      expect(list.header.time).toBe(0);
      list.close();
    } finally {
      clock.mockRestore();
    }
  });

  test('whose writer was killed is invalid', async () => {
    const path = await written(digestsOf(10));
    const bytes = readFileSync(path).fill(0, 0, KEEP_HEADER_SIZE);
    expect(decodeKeepHeader(bytes, bytes.length)).toBe('it is not a keep list, or was not written completely');
  });

  test('that is a directory, a fifo or missing is refused', () => {
    const directory = mkdtempSync(at('d'));
    expect(failureOf(() => openList(directory, 'blake3')).message).toContain('not a regular file');
    expect(failureOf(() => openList(join(directory, 'none'), 'blake3')).message).toContain('no such file');
    expect(statSync(directory).isDirectory()).toBe(true);
  });
});
