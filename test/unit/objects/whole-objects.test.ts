import { closeSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { EACCES, EIO } from '../../../src/base/errno.ts';
import { useScratch } from '../store/scratch.ts';
import { contentOf, DAMAGES, expectGood, NAMED, open, StoreFixture } from '../store/store-fixture.ts';
import { WatchedRepository } from './watched-repository.ts';

const at = useScratch();
const f = new StoreFixture(at);

describe('WholeObjects.open()', () => {
  test('searches the repositories in their order, and stops at the one that has the object', () => {
    expectGood(f.store(), f.stored(f.first, f.second));
    expect([f.first.opens, f.second.opens]).toEqual([1, 0]);
    expect(f.log).toEqual([]);
  });

  test('takes an object that the first does not have from the next, and logs nothing', () => {
    const object = f.stored(f.second);
    const store = f.store();
    expectGood(store, object);
    expect([f.first.opens, f.second.opens]).toEqual([1, 1]);
    expect(f.log).toEqual([]);
  });

  test.each(DAMAGES)('takes an object with %s from the next repository, and logs a line', (_what, damage, reason) => {
    const object = f.stored(f.first, f.second);
    damage(f.first.pathOf(object), object.content);
    expectGood(f.store(), object);
    expect(f.log).toHaveLength(1);
    expect(f.log[0]).toContain(`${NAMED}: object ${toHex(object.digest)}: ${f.first.path}: ${reason}`);
    expect(f.log[0]).toContain(`served from ${f.second.path} instead`);
  });

  test.each(DAMAGES)('returns EIO for an object with %s that no other repository has', (_what, damage, reason) => {
    const object = f.stored(f.first);
    damage(f.first.pathOf(object), object.content);
    expect(open(f.store(), object)).toBe(EIO);
    expect(f.log).toHaveLength(1);
    expect(f.log[0]).toContain(`${NAMED}: object ${toHex(object.digest)}: ${f.first.path}: ${reason}`);
    expect(f.log[0]).toContain(`${f.second.path}: it is missing: EIO`);
  });

  test('also logs the EIO if the served copy goes bad later', () => {
    const object = f.stored(f.first);
    writeFileSync(f.second.pathOf(object), object.content);
    writeFileSync(f.first.pathOf(object), Buffer.alloc(object.size));
    const store = f.store();
    expectGood(store, object);
    writeFileSync(f.second.pathOf(object), Buffer.alloc(object.size));
    expect(open(store, object)).toBe(EIO);
    expect(open(store, object)).toBe(EIO);
    expect(f.log).toHaveLength(2);
    expect(f.log[1]).toMatch(/: EIO$/);
  });

  test('returns EIO for an object that no repository has, and names all that were searched', () => {
    const object = f.stored();
    expect(open(f.store(), object)).toBe(EIO);
    expect(f.log).toEqual([
      `${NAMED}: object ${toHex(object.digest)}: ${f.first.path}: it is missing; ${f.second.path}: it is missing: EIO`,
    ]);
  });

  test('returns EIO if there is no repository', () => {
    expect(open(f.store('open', []), f.stored())).toBe(EIO);
    expect(f.log[0]).toContain('no repository was given');
  });

  test('reports any error except a missing object with its name, and continues', () => {
    const object = f.stored(f.second);
    f.first.failing = EACCES;
    expectGood(f.store(), object);
    expect(f.log[0]).toContain(`${f.first.path}: EACCES`);
    expect(f.log[0]).toContain(`served from ${f.second.path}`);
  });

  test('reports an object once, for any number of opens', () => {
    const [one, other] = [f.stored(), f.stored()];
    const store = f.store();
    for (let i = 0; i < 3; i++) for (const object of [one, other]) expect(open(store, object)).toBe(EIO);
    expect(f.log).toHaveLength(2);
  });

  test('leaves no descriptor open if it returns EIO', () => {
    const object = f.stored(f.first, f.second);
    for (const repository of [f.first, f.second]) truncateSync(repository.pathOf(object), 1);
    const probe = (): number => {
      const fd = open(f.store('off', [f.first]), f.stored(f.first)) as number;
      closeSync(fd);
      return fd;
    };
    const before = probe();
    for (let i = 0; i < 20; i++) expect(open(f.store(), object)).toBe(EIO);
    expect(probe()).toBe(before);
  });

  test('compares with the hash of the repository', () => {
    const verity = new WatchedRepository(at('verity'), 'fsverity-sha256');
    const object = f.object('fsverity-sha256');
    writeFileSync(verity.pathOf(object), object.content);
    expectGood(f.store('open', [verity]), object);
    writeFileSync(verity.pathOf(object), Buffer.alloc(5000));
    expect(open(f.store('open', [verity]), object)).toBe(EIO);
    expect(f.log[0]).toContain('fsverity-sha256 is ');
  });

  test('refuses a directory in place of an object', () => {
    const object = f.stored(f.second);
    mkdirSync(f.first.pathOf(object));
    expectGood(f.store(), object);
    expect(f.log[0]).toContain(`${f.first.path}: it is not a regular file`);
  });
});

describe('verify=off', () => {
  test('does not hash', () => {
    const object = f.stored(f.first);
    writeFileSync(f.first.pathOf(object), Buffer.alloc(object.size));
    expect(contentOf(open(f.store('off'), object))).toEqual(Buffer.alloc(object.size));
    expect(f.first.hashings).toBe(0);
    expect(f.log).toEqual([]);
  });

  test.each([4999, 5001])('refuses a file of %i bytes nevertheless', (size) => {
    const object = f.stored(f.first, f.second);
    truncateSync(f.first.pathOf(object), size);
    expectGood(f.store('off'), object);
    expect(f.log[0]).toContain(`${size} bytes instead of 5000`);
  });
});
