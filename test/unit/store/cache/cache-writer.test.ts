/** A cache is written at any time, also while it is deleted. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { blake3, digestContent } from '../../../../src/base/digest.ts';
import { CacheWriter } from '../../../../src/store/cache/cache-writer.ts';
import {
  initRepository,
  openCache,
  openOrInitRepository,
  openRepository,
} from '../../../../src/store/open-repository.ts';

let directory: string;
let path: string;
let writer: CacheWriter;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cfs-cache-'));
  path = join(directory, 'deep/cache/blake3');
  writer = new CacheWriter(path, 'blake3');
});

afterEach(() => {
  writer.close();
  rmSync(directory, { recursive: true });
});

const CONTENT = Buffer.from('content of an object');
const digest = blake3(CONTENT);
const file = (): string => openRepository(path).objectPath(digest);
const put = (): void => writer.putBytes(CONTENT, digestContent('blake3', CONTENT));
const isStored = (): boolean => existsSync(path) && existsSync(file()) && readFileSync(file()).equals(CONTENT);

test('a cache is made when it is needed, and says what it is', () => {
  put();
  expect(isStored()).toBe(true);
  expect(JSON.parse(readFileSync(join(path, 'meta.json'), 'utf8'))).toMatchObject({ hash: 'blake3', cache: true });
  expect(openRepository(path).isCache).toBe(true);
});

function inPieces(): boolean {
  const sink = writer.begin();
  sink.write(CONTENT.subarray(0, 5));
  sink.write(CONTENT.subarray(5));
  return sink.finish(digest);
}

test('an object in pieces', () => {
  expect(inPieces()).toBe(true);
  expect(isStored()).toBe(true);
  expect(readdirSync(join(path, 'tmp'))).toEqual([]);
});

test.each([
  ['all of it', () => rmSync(path, { recursive: true })],
  ['tmp', () => rmSync(join(path, 'tmp'), { recursive: true })],
  ['objects', () => rmSync(join(path, 'objects'), { recursive: true })],
  ['its name', () => renameSync(path, join(directory, 'elsewhere'))],
])('if somebody deletes %s, it is made again', (_, remove) => {
  writer.putBytes(Buffer.of(1), digestContent('blake3', Buffer.of(1)));
  remove();
  put();
  expect(isStored()).toBe(true);
});

test('a damaged object is removed, and stored again', () => {
  put();
  rmSync(file());
  writeFileSync(file(), 'damage');
  writer.remove(digest);
  expect(existsSync(file())).toBe(false);
  writer.remove(digest);
  put();
  expect(isStored()).toBe(true);
});

test.each([
  ['an empty file', () => writeFileSync(file(), '')],
  ['a longer file', () => writeFileSync(file(), `${CONTENT}and more`)],
  ['a directory', () => mkdirSync(join(file(), 'deep'), { recursive: true })],
])('%s in place of an object is removed when the object is stored', (_, damage) => {
  for (const store of [put, () => void inPieces()]) {
    put();
    rmSync(file());
    damage();
    store();
    expect(isStored()).toBe(true);
  }
});

test('a repository is no cache, and a cache is no repository', () => {
  initRepository(path, 'blake3');
  expect(() => openCache(path, 'blake3')).toThrow('it is a repository');
  openCache(join(directory, 'cache'), 'blake3');
  expect(() => openOrInitRepository(join(directory, 'cache'))).toThrow('it is a cache');
  expect(() => openCache(join(directory, 'cache'), 'fsverity-sha256')).toThrow('it names objects by blake3');
});

test('objects that were not used for the longest time are deleted', async () => {
  const PAGES = 4096;
  const contents = Array.from({ length: 10 }, (_, i) => Buffer.alloc(PAGES, i + 1));
  for (const content of contents) writer.putBytes(content, digestContent('blake3', content));
  const cache = openRepository(path);
  // the time of the last use is never before that of the last change, which is now
  const nextYear = Date.now() / 1000 + 365 * 86_400;
  for (const [i, content] of contents.entries()) utimesSync(cache.objectPath(blake3(content)), nextYear + i, nextYear);
  const opened = openSync(cache.objectPath(blake3(contents[0] as Buffer)), 'r');
  const before = writer.evictions;

  expect(await writer.evict(() => 10 * PAGES)).toMatchObject({ after: 10 * PAGES, deleted: { object: 0 } });
  expect(writer.evictions).toBe(before);
  expect(await writer.evict((bytes) => bytes / 2)).toEqual({
    before: 10 * PAGES,
    after: 5 * PAGES,
    deleted: { object: 5, image: 0, leftover: 0 },
    problems: [],
  });
  expect(contents.map((content) => existsSync(cache.objectPath(blake3(content))))).toEqual([
    ...Array(5).fill(false),
    ...Array(5).fill(true),
  ]);
  // other processes notice it, and open files stay
  expect(new CacheWriter(path, 'blake3').evictions).not.toBe(before);
  expect(readFileSync(opened).equals(contents[0] as Buffer)).toBe(true);
  closeSync(opened);
  expect(readdirSync(join(path, 'tmp'))).toEqual([]);
});
