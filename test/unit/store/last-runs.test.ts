import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { lastRuns } from '../../../src/api/last-runs.ts';
import { collectGarbage } from '../../../src/store/gc/gc.ts';
import { lastRun, rememberRun } from '../../../src/store/last-runs.ts';
import type { LocalRepository } from '../../../src/store/local-repository.ts';
import { initRepository } from '../../../src/store/open-repository.ts';
import { isRoot } from '../../support/root.ts';
import { useScratch } from './scratch.ts';

const scratch = useScratch();
const FOUND = { objects: 3, bytes: 400, damaged: 2, repaired: 1, badRoots: 0 };
const GC = { keep: [], minAgeMs: 0, keepNone: true, emptyQuarantine: false };
let counter = 0;
let repository: LocalRepository;
beforeEach(() => {
  repository = initRepository(scratch(`store-${++counter}`), 'blake3');
});

const file = (kind: string): string => join(repository.path, 'runs', kind);

describe('a run', () => {
  test('is read as it was recorded, the last of each kind', () => {
    expect(lastRun(repository, 'fsck')).toBeUndefined();
    const before = Date.now();
    rememberRun(repository, 'fsck', FOUND, 12.4);
    rememberRun(repository, 'fsck', { ...FOUND, objects: 4 }, 12.6);
    expect(lastRun(repository, 'fsck')).toEqual({ ...FOUND, objects: 4, ms: 13, time: expect.any(Number) });
    expect(lastRun(repository, 'fsck')?.time).toBeGreaterThanOrEqual(before);
    expect(lastRun(repository, 'gc')).toBeUndefined();
    expect(readdirSync(join(repository.path, 'tmp'))).toEqual([]);
    expect(lastRuns(repository.path)).toMatchObject({ check: { damaged: 2, time: expect.any(Date) }, gc: undefined });
  });

  test.each([
    ['cut off', (text: string) => text.slice(0, 30)],
    ['of another version', (text: string) => text.replace('"version":1', '"version":2')],
    ['without a number', (text: string) => text.replace('"damaged":2,', '')],
    ['with text', (text: string) => text.replace('"damaged":2', '"damaged":"<b>"')],
    ['with a negative number', (text: string) => text.replace('"damaged":2', '"damaged":-2')],
    ['with a time that no calendar has', (text: string) => text.replace(/"time":\d+/, '"time":9000000000000000')],
    ['that is no object', () => '[1]'],
    ['null', () => 'null'],
    ['huge', (text: string) => text + ' '.repeat(10_000)],
    ['empty', () => ''],
  ])('that is damaged counts as missing: %s', (_, damage) => {
    rememberRun(repository, 'fsck', FOUND, 1);
    writeFileSync(file('fsck'), damage(readFileSync(file('fsck'), 'utf8')));
    expect(lastRun(repository, 'fsck')).toBeUndefined();
    rememberRun(repository, 'fsck', FOUND, 1);
    expect(lastRun(repository, 'fsck')).toMatchObject(FOUND);
  });

  test('is not written or read through links, nor to something else in its place', () => {
    const outside = scratch(`outside-${counter}`);
    mkdirSync(outside);
    symlinkSync(outside, join(repository.path, 'runs'));
    rememberRun(repository, 'fsck', FOUND, 1);
    expect(readdirSync(outside)).toEqual([]);
    rmSync(join(repository.path, 'runs'));
    writeFileSync(join(repository.path, 'runs'), '');
    rememberRun(repository, 'fsck', FOUND, 1);
    expect(lastRun(repository, 'fsck')).toBeUndefined();
    rmSync(join(repository.path, 'runs'));
    mkdirSync(file('fsck'), { recursive: true });
    rememberRun(repository, 'fsck', FOUND, 1);
    expect(lastRun(repository, 'fsck')).toBeUndefined();
    expect(readdirSync(join(repository.path, 'tmp'))).toEqual([]);
  });

  test.runIf(!isRoot)('is not recorded without write permission', () => {
    chmodSync(repository.path, 0o555);
    try {
      rememberRun(repository, 'fsck', FOUND, 1);
      expect(existsSync(join(repository.path, 'runs'))).toBe(false);
    } finally {
      chmodSync(repository.path, 0o755);
    }
  });
});

test('gc records its result, unless it only tries', async () => {
  writeFileSync(join(repository.path, 'objects/00', '0'.repeat(62)), 'unused', { mode: 0o444 });
  await collectGarbage(repository, { ...GC, dryRun: true });
  expect(lastRun(repository, 'gc')).toBeUndefined();
  await collectGarbage(repository, { ...GC, dryRun: false });
  expect(lastRun(repository, 'gc')).toMatchObject({ freedObjects: 1, freedBytes: 6, keptObjects: 0 });
  await expect(collectGarbage(repository, { ...GC, keepNone: false, dryRun: false })).rejects.toThrow('would be kept');
  expect(lastRun(repository, 'gc')).toMatchObject({ freedObjects: 1 });
});
