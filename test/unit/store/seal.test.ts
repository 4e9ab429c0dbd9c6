import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import {
  EACCES,
  EBUSY,
  EEXIST,
  EINVAL,
  EIO,
  ENODATA,
  ENOTTY,
  EOPNOTSUPP,
  type Errno,
  ETXTBSY,
} from '../../../src/base/errno.ts';
import { CfsError } from '../../../src/base/error.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { ObjectWriter } from '../../../src/store/object-writer.ts';
import { initRepository } from '../../../src/store/open-repository.ts';
import { type SealResult, sealObjects } from '../../../src/store/seal.ts';
import { sealFile, type Verity } from '../../../src/store/seal-file.ts';
import { Random } from '../../support/random.ts';
import { FakeVerity, verityDigest } from '../objects/fake-verity.ts';
import { useScratch } from './scratch.ts';

const at = useScratch();
let serial = 0;
let verity: FakeVerity;
let repository: LocalRepository;
let digests: Uint8Array[];

const SIZES = [1, 100, 4096, 4097, 70_000];

beforeEach(() => {
  verity = new FakeVerity();
  repository = initRepository(at(`repository-${++serial}`), 'fsverity-sha256');
  digests = storeContents(repository);
});

function storeContents(into: LocalRepository): Uint8Array[] {
  const writer = new ObjectWriter(into, { durable: false, prefix: 'x' });
  const random = new Random(7);
  const stored = SIZES.map((size) => writer.putBytes(random.bytes(size)).digest);
  writer.close();
  return stored;
}

const sealAll = (of = repository, which?: Iterable<Uint8Array>): Promise<SealResult> =>
  sealObjects(of, which, { verity });

const pathOf = (i: number): string => repository.objectPath(digests[i] as Uint8Array);
const bytes = SIZES.reduce((sum, size) => sum + size);

describe('sealObjects()', () => {
  test('seals every object, and finds all sealed the second time', async () => {
    expect(await sealAll()).toMatchObject({ sealed: 5, sealedBytes: bytes, already: 0, problems: [] });
    expect(await sealAll()).toMatchObject({ sealed: 0, sealedBytes: 0, already: 5, problems: [] });
  });

  test('seals the named objects, and passes over missing ones', async () => {
    const [one, two] = digests as [Uint8Array, Uint8Array];
    rmSync(pathOf(1));
    expect(await sealAll(repository, [one, two])).toMatchObject({ sealed: 1, already: 0, problems: [] });
    expect(await sealAll()).toMatchObject({ sealed: 3, already: 1 });
  });

  test('reports an object whose content does not match its name', async () => {
    chmodSync(pathOf(2), 0o644);
    writeFileSync(pathOf(2), Buffer.alloc(4096));
    const { sealed, problems } = await sealAll();
    expect(sealed).toBe(5);
    expect(problems).toEqual([
      {
        outcome: 'damaged',
        reason: expect.stringContaining(toHex(verityDigest(Buffer.alloc(4096)).digest)),
        objects: [toHex(digests[2] as Uint8Array)],
        count: 1,
      },
    ]);
  });

  test("removes the owner's write permission that a killed run left, before or after the file was sealed", async () => {
    chmodSync(pathOf(0), 0o644);
    await sealAll(repository, [digests[1] as Uint8Array]);
    chmodSync(pathOf(1), 0o644);
    expect(await sealAll()).toMatchObject({ sealed: 4, already: 1, problems: [] });
    for (const i of SIZES.keys()) expect(statSync(pathOf(i)).mode & 0o777).toBe(0o444);
  });

  test('cannot compare names of BLAKE3', async () => {
    const blake3 = initRepository(at(`blake3-${serial}`), 'blake3');
    storeContents(blake3);
    expect(await sealAll(blake3)).toMatchObject({ sealed: 5, problems: [] });
  });

  test.each([
    [EOPNOTSUPP, 'unsupported', 'has no fs-verity'],
    [ENOTTY, 'unsupported', 'has no fs-verity'],
    [EIO, 'failed', 'input/output error'],
  ] as const)('reports once why none can be sealed (%i)', async (errno, outcome, reason) => {
    verity.failing = errno;
    const { sealed, already, problems } = await sealAll();
    expect([sealed, already]).toEqual([0, 0]);
    expect(problems).toEqual([
      { outcome, reason: expect.stringContaining(reason), objects: expect.any(Array), count: 5 },
    ]);
    expect(problems[0]?.objects).toHaveLength(outcome === 'unsupported' ? 1 : 5);
  });

  test('passes over files that are not objects', async () => {
    mkdirSync(`${repository.path}/objects/strange`);
    writeFileSync(`${repository.path}/objects/00/short`, 'x');
    expect(await sealAll()).toMatchObject({ sealed: 5, problems: [] });
  });

  test('stops on request, and continues from there', async () => {
    const many = Array.from({ length: 200 }, (_, i) => digests[i % 5] as Uint8Array);
    const controller = new AbortController();
    const stopped = new Error('stopped');
    const sealing = sealObjects(repository, many, {
      verity,
      signal: controller.signal,
      onProgress: () => controller.abort(stopped),
    });
    await expect(sealing).rejects.toBe(stopped);
    expect(await sealAll()).toMatchObject({ sealed: 0, already: 5 });
  });

  test('names a repository that cannot be read', async () => {
    rmSync(`${repository.path}/objects`, { recursive: true });
    await expect(sealAll()).rejects.toThrow(CfsError);
    await expect(sealAll()).rejects.toThrow(repository.path);
  });
});

/** A file system that refuses to seal. */
const refusing = (errno: Errno): Verity => ({ measure: () => ENODATA, enable: () => errno });

describe('sealFile()', () => {
  test.each([
    [ETXTBSY, 'busy', 'open for writing'],
    [EBUSY, 'busy', 'another program'],
    [EINVAL, 'unsupported', '4096'],
    [EIO, 'failed', 'input/output error'],
  ] as const)('reports why a file is not sealed (%i)', (errno, outcome, reason) => {
    expect(sealFile(pathOf(0), refusing(errno))).toEqual({ outcome, reason: expect.stringContaining(reason) });
  });

  test.each([EEXIST, EBUSY])('waits for another program that seals it (%i)', (errno) => {
    let measured = 0;
    const digest = verityDigest(Buffer.alloc(1));
    const meanwhile: Verity = { measure: () => (measured++ < 3 ? ENODATA : digest), enable: () => errno };
    expect(sealFile(pathOf(0), meanwhile)).toEqual({ outcome: 'already', digest, size: 1, treeBytes: 0 });
  });

  test('lets the owner write for as long as the kernel requires it', () => {
    const modes: number[] = [];
    const strict: Verity = {
      measure: verity.measure,
      enable: (fd) => {
        const mode = statSync(pathOf(0)).mode & 0o777;
        modes.push(mode);
        return (mode & 0o200) === 0 ? EACCES : verity.enable(fd);
      },
    };
    expect(sealFile(pathOf(0), strict)).toMatchObject({ outcome: 'sealed', size: 1 });
    expect(modes).toEqual([0o444, 0o644]);
    expect(statSync(pathOf(0)).mode & 0o777).toBe(0o444);
  });

  test("leaves the mode of another user's file", () => {
    const geteuid = vi.spyOn(process, 'geteuid').mockReturnValue(12345);
    expect(sealFile(pathOf(0), refusing(EACCES))).toMatchObject({ outcome: 'failed' });
    geteuid.mockRestore();
    expect(statSync(pathOf(0)).mode & 0o777).toBe(0o444);
  });

  test('leaves the mode of a file that is not an object', () => {
    chmodSync(pathOf(0), 0o644);
    expect(sealFile(pathOf(0), verity)).toMatchObject({ outcome: 'sealed' });
    expect(statSync(pathOf(0)).mode & 0o777).toBe(0o644);
  });

  test('follows no link, and accepts no directory', () => {
    symlinkSync(pathOf(0), at('link'));
    expect(sealFile(at('link'), verity)).toMatchObject({ outcome: 'failed' });
    expect(sealFile(repository.path, verity)).toEqual({ outcome: 'failed', reason: 'it is not a regular file' });
    expect(sealFile(at('nothing'), verity)).toEqual({ outcome: 'gone' });
  });

  test('leaves no descriptor open', () => {
    const open = (): number => readdirSync('/proc/self/fd').length;
    const before = open();
    for (const result of [EIO, ETXTBSY]) sealFile(pathOf(0), refusing(result));
    sealFile(pathOf(0), verity);
    sealFile(repository.path, verity);
    expect(open()).toBe(before);
  });
});
