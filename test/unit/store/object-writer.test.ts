import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { digestContent, HASH_ALGORITHMS, type HashAlgorithm } from '../../../src/base/digest.ts';
import { InputError } from '../../../src/store/content-copier.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { ObjectWriter } from '../../../src/store/object-writer.ts';
import { initRepository } from '../../../src/store/open-repository.ts';
import { Random } from '../../support/random.ts';
import { failureOf } from './failure.ts';
import { useScratch } from './scratch.ts';

const MIB = 1 << 20;
const at = useScratch();
const random = new Random(11);
const opened: number[] = [];
let serial = 0;
/** One for all tests: each stores contents of its own. Tests that damage a repository make their own. */
let repository: LocalRepository = initRepository(at('repository'), 'blake3');
const whole = repository;

afterEach(() => {
  repository = whole;
  for (const fd of opened.splice(0)) closeSync(fd);
});

const writerOf = (durable = false, to = repository): ObjectWriter => new ObjectWriter(to, { durable, prefix: 'run-' });
const temporaries = (): string[] => readdirSync(repository.temporaryDirectory);
const objectFile = (content: Uint8Array, hash: HashAlgorithm = 'blake3'): string =>
  repository.objectPath(digestContent(hash, content).digest);

/** An open file with this content. */
function inputOf(content: Uint8Array): number {
  const path = at(`input${serial++}`);
  writeFileSync(path, content);
  return openInput(path);
}

function openInput(path: string): number {
  const fd = openSync(path, 'r');
  opened.push(fd);
  return fd;
}

function putFile(writer: ObjectWriter, content: Uint8Array): ReturnType<ObjectWriter['putFile']> {
  const fd = inputOf(content);
  return writer.putFile(fd, content.length, fstatSync(fd).dev);
}

/** The two ways to store an object, which must behave alike. */
const ways: readonly (readonly [string, typeof putFile])[] = [
  ['putBytes', (writer, content) => writer.putBytes(content)],
  ['putFile', putFile],
];

describe.each(ways)('%s()', (_name, put) => {
  test.each([1, 65536, 65537, MIB, 3 * MIB + 1])(
    'stores %i bytes under their digest and returns all hashes',
    (size) => {
      const content = random.bytes(size);
      const digest = put(writerOf(), content);
      expect(digest).toEqual(digestContent('blake3', content));
      expect(readFileSync(repository.objectPath(digest.digest)).equals(content)).toBe(true);
      expect(temporaries()).toEqual([]);
    },
  );

  test('makes a regular file that no user may write', () => {
    const content = random.bytes(100);
    put(writerOf(), content);
    const stat = statSync(objectFile(content));
    expect(stat.isFile()).toBe(true);
    expect(stat.mode & 0o7777).toBe(0o444 & ~process.umask());
    expect(stat.nlink).toBe(1);
  });

  test('never writes an existing object again', () => {
    const content = random.bytes(2 * MIB);
    put(writerOf(), content);
    const before = statSync(objectFile(content), { bigint: true });
    const writer = writerOf();
    put(writer, content);
    writer.flush();
    const after = statSync(objectFile(content), { bigint: true });
    expect([after.ino, after.ctimeNs]).toEqual([before.ino, before.ctimeNs]);
    expect(writer.statistics).toEqual({ written: 0, writtenBytes: 0, existing: 1 });
    expect(temporaries()).toEqual([]);
  });

  test('counts new and existing objects', () => {
    const writer = writerOf();
    const again = random.bytes(25);
    for (const content of [random.bytes(10), again, again]) put(writer, content);
    expect(writer.statistics).toEqual({ written: 2, writtenBytes: 35, existing: 1 });
  });

  test('publishes a durable object in flush(), not before', () => {
    const content = random.bytes(100);
    const writer = writerOf(true);
    put(writer, content);
    expect(existsSync(objectFile(content))).toBe(false);
    expect(temporaries()).toHaveLength(1);
    expect(temporaries()[0]).toMatch(/^run-/);
    writer.flush();
    expect(readFileSync(objectFile(content)).equals(content)).toBe(true);
    expect(temporaries()).toEqual([]);
    expect(writer.statistics).toEqual({ written: 1, writtenBytes: 100, existing: 0 });
  });

  test('writes a content that waits for its flush only once', () => {
    const content = random.bytes(100);
    const writer = writerOf(true);
    put(writer, content);
    put(writer, content);
    expect(temporaries()).toHaveLength(1);
    writer.flush();
    expect(writer.statistics).toEqual({ written: 1, writtenBytes: 100, existing: 1 });
  });

  test('keeps the object of another writer that was first', () => {
    const content = random.bytes(1000);
    const [slow, fast] = [writerOf(true), new ObjectWriter(repository, { durable: false, prefix: 'fast-' })];
    put(slow, content);
    put(fast, content);
    const { ino } = statSync(objectFile(content));
    slow.flush();
    expect(statSync(objectFile(content)).ino).toBe(ino);
    expect(slow.statistics).toEqual({ written: 0, writtenBytes: 0, existing: 1 });
    expect(temporaries()).toEqual([]);
  });

  test('refuses an object of another size under the name, names the remedy, and does not touch it', () => {
    const content = random.bytes(1000);
    writeFileSync(objectFile(content), content.subarray(0, 999));
    const error = failureOf(() => put(writerOf(), content));
    expect(error.kind).toBe('store');
    expect(error.message).toContain(
      `object ${toHex(digestContent('blake3', content).digest)} has 999 bytes instead of 1000`,
    );
    expect(error.message).toContain(`Remove ${objectFile(content)} and pack again`);
    expect(statSync(objectFile(content)).size).toBe(999);
    expect(temporaries()).toEqual([]);
  });

  test('names the repository and the reason if it cannot write', () => {
    repository = initRepository(at(`broken${serial++}`), 'blake3');
    rmSync(repository.temporaryDirectory, { recursive: true });
    const error = failureOf(() => put(writerOf(), random.bytes(10)));
    expect(error.kind).toBe('store');
    expect(error.message).toContain(`Cannot write to repository ${repository.path}: no such file or directory`);
  });

  test('leaves nothing in tmp/ if the object cannot get its name', () => {
    repository = initRepository(at(`broken${serial++}`), 'blake3');
    const content = random.bytes(10);
    rmSync(dirname(objectFile(content)), { recursive: true });
    expect(failureOf(() => put(writerOf(), content)).kind).toBe('store');
    expect(temporaries()).toEqual([]);
  });

  test('reports an obstacle at the name', () => {
    repository = initRepository(at(`broken${serial++}`), 'blake3');
    const content = random.bytes(10);
    rmSync(dirname(objectFile(content)), { recursive: true });
    writeFileSync(dirname(objectFile(content)), '');
    expect(failureOf(() => put(writerOf(), content)).message).toContain('not a directory');
  });
});

describe('ObjectWriter', () => {
  test('never leaves an incomplete object under a name, at any moment', () => {
    // a durable write is invisible until it is complete: another reader sees ENOENT or the full size
    const content = random.bytes(4 * MIB);
    const writer = writerOf(true);
    const { digest } = putFile(writer, content);
    expect(repository.size(digest)).toBeLessThan(0);
    writer.flush();
    expect(repository.size(digest)).toBe(content.length);
  });

  test.each(HASH_ALGORITHMS)('names objects by %s, the hash of the repository', (hash) => {
    const other = initRepository(at(`h${serial++}`), hash);
    const content = random.bytes(5000);
    const writer = writerOf(false, other);
    expect(toHex(writer.putBytes(content).digest)).toBe(toHex(digestContent(hash, content).digest));
    expect(readFileSync(other.objectPath(digestContent(hash, content).digest)).equals(content)).toBe(true);
  });

  test('flushes by itself before too many files wait', () => {
    const writer = writerOf(true);
    for (let i = 0; i < 8192; i++) writer.putBytes(Buffer.from(`content ${i}`));
    expect(temporaries()).toEqual([]);
    writer.putBytes(random.bytes(10));
    expect(temporaries()).toHaveLength(1);
    writer.flush();
    expect(writer.statistics.written).toBe(8193);
  });

  test('sync() succeeds on an idle repository, and flush() with no work', () => {
    const writer = writerOf(true);
    writer.sync();
    writer.flush();
    expect(writer.statistics).toEqual({ written: 0, writtenBytes: 0, existing: 0 });
  });

  test('continues after a flush', () => {
    const writer = writerOf(true);
    for (const size of [10, 20, 30]) {
      const { digest } = writer.putBytes(random.bytes(size));
      writer.flush();
      expect(repository.size(digest)).toBe(size);
    }
    expect(writer.statistics.written).toBe(3);
  });
});

describe('putFile()', () => {
  test('keeps the holes of a sparse file', () => {
    const path = at('sparse');
    const fd = openSync(path, 'w');
    writeSync(fd, random.bytes(4096), 0, 4096, 100 * MIB);
    ftruncateSync(fd, 300 * MIB);
    closeSync(fd);
    const { digest, size } = writerOf().putFile(openInput(path), 300 * MIB, statSync(path).dev);
    expect(size).toBe(300 * MIB);
    const stat = statSync(repository.objectPath(digest));
    expect(stat.size).toBe(300 * MIB);
    expect(stat.blocks * 512).toBeLessThanOrEqual(64 * 1024);
    expect(toHex(digest)).toBe(toHex(digestContent('blake3', readFileSync(path)).digest));
  });

  test('stores a file that ends in a hole at its whole size', () => {
    const path = at('tail');
    writeFileSync(path, random.bytes(4096));
    truncateSync(path, 4 * MIB);
    const { digest } = writerOf().putFile(openInput(path), 4 * MIB, statSync(path).dev);
    expect(readFileSync(repository.objectPath(digest)).equals(readFileSync(path))).toBe(true);
  });

  test('stores the bytes up to the given size, if the file has grown', () => {
    const content = random.bytes(2 * MIB);
    const fd = inputOf(content);
    const result = writerOf().putFile(fd, MIB + 3, fstatSync(fd).dev);
    expect(result).toEqual(digestContent('blake3', content.subarray(0, MIB + 3)));
    expect(repository.size(result.digest)).toBe(MIB + 3);
  });

  test('returns the number of bytes if the file has become shorter', () => {
    const path = at('cut');
    writeFileSync(path, random.bytes(3 * MIB));
    const fd = openInput(path);
    truncateSync(path, MIB);
    expect(writerOf().putFile(fd, 3 * MIB, fstatSync(fd).dev).size).toBe(MIB);
  });

  test('every object under a name has its content, even if the file changed in the meantime', () => {
    const path = at('cut-object');
    writeFileSync(path, random.bytes(3 * MIB));
    const fd = openInput(path);
    truncateSync(path, MIB);
    const { digest } = writerOf().putFile(fd, 3 * MIB, fstatSync(fd).dev);
    const content = readFileSync(repository.objectPath(digest));
    expect(toHex(digestContent('blake3', content).digest)).toBe(toHex(digest));
  });

  test('throws InputError if the file cannot be read: not an error of the repository', () => {
    mkdirSync(at('directory'));
    const fd = openInput(at('directory'));
    expect(() => writerOf().putFile(fd, 4096, fstatSync(fd).dev)).toThrow(InputError);
    expect(temporaries()).toEqual([]);
  });

  test('leaves the input unchanged', () => {
    const content = random.bytes(2 * MIB);
    const path = at('kept');
    writeFileSync(path, content);
    const before = statSync(path, { bigint: true });
    writerOf().putFile(openInput(path), content.length, Number(before.dev));
    const after = statSync(path, { bigint: true });
    expect([after.size, after.mtimeNs, after.ctimeNs]).toEqual([before.size, before.mtimeNs, before.ctimeNs]);
    unlinkSync(path);
  });
});
