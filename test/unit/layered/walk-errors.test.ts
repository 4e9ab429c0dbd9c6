/** A search of the upper layer in which a call fails for a reason of the moment: nothing counts as absent after it. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { EIO, EMFILE, ENFILE, ENOENT, ENOMEM, type Errno, errnoName } from '../../../src/base/errno.ts';
import type * as Listing from '../../../src/system/directory-listing.ts';
import type * as Status from '../../../src/system/file-status.ts';
import { directory, file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { type LayeredTree, ownTree, useLayers } from './layered-fixture.ts';

type Call = 'readDirectory' | 'statusAt';
/** The call that fails: the next `skip` ones of this name do not. */
const failing: { call?: Call | undefined; errno: Errno; skip: number; dir?: number } = { errno: EMFILE, skip: 0 };
const fails = (call: Call, dir: number): boolean =>
  failing.call === call && (failing.dir ?? dir) === dir && failing.skip-- <= 0;

vi.mock('../../../src/system/directory-listing.ts', async (original) => {
  const real = await original<typeof Listing>();
  return {
    ...real,
    readDirectory: (...args: Parameters<typeof real.readDirectory>) =>
      fails('readDirectory', args[0]) ? failing.errno : real.readDirectory(...args),
  };
});
vi.mock('../../../src/system/file-status.ts', async (original) => {
  const real = await original<typeof Status>();
  return {
    ...real,
    statusAt: (...args: Parameters<typeof real.statusAt>) =>
      fails('statusAt', args[0]) ? failing.errno : real.statusAt(...args),
  };
});

afterEach(() => {
  failing.call = undefined;
  delete failing.dir;
});

const at = useScratch();
const tree = ownTree({
  '/a': directory,
  '/a/f': file('content of f'),
  '/a/l': '/a/f',
  '/b': directory,
  '/b/g': file('g'),
});
const { layered, withoutTable } = useLayers(tree, at);

const byHandle = (one: LayeredTree, ino: number): string => {
  const result = one.fs.lookup(ino, Buffer.from('.'), one.out);
  return result === 0 ? 'found' : errnoName(result);
};

/** A layer without a table, in which this call fails from now on; and the ids of a new file and of a moved one. */
function searching(call: Call, errno: Errno, skip = 0) {
  const before = layered();
  const made = before.write('/a/made', 'made');
  before.overwrite('/b/g', 'G');
  before.rename('/b/g', '/a/moved');
  const moved = before.ino('/a/moved');
  const next = withoutTable(before);
  Object.assign(failing, { call, errno, skip });
  return { next, made, moved };
}

describe.each<Call>(['readDirectory', 'statusAt'])('if %s fails', (call) => {
  test.each([EMFILE, ENFILE, ENOMEM])('with error %i, a handle has that error, and is found later', (errno) => {
    const { next, made, moved } = searching(call, errno);
    expect([byHandle(next, made), byHandle(next, moved)]).toEqual([errnoName(errno), errnoName(errno)]);
    expect(next.fs.getattr(made, next.out)).toBe(errno);
    failing.call = undefined;
    expect([byHandle(next, made), byHandle(next, moved)]).toEqual(['found', 'found']);
    expect(byHandle(next, made + 1)).toBe('ENOENT');
  });

  test('after some entries were found, the others are found later', () => {
    for (let skip = 0; skip < 6; skip++) {
      const { next, made, moved } = searching(call, EMFILE, skip);
      byHandle(next, 12_345_678_901);
      failing.call = undefined;
      expect([byHandle(next, made), byHandle(next, moved)], `${skip}`).toEqual(['found', 'found']);
    }
  });

  test('with an error of the file, the search is complete', () => {
    const { next } = searching(call, EIO);
    expect(byHandle(next, 12_345_678_901)).toBe('ENOENT');
    failing.call = undefined;
    next.fs.forget(12_345_678_901);
    expect(next.fs.getattr(12_345_678_901, next.out)).toBe(ENOENT);
  });
});

test('a file that is not at its place has the error of the search, and is found later', () => {
  const before = layered();
  before.write('/a/x', 'text');
  before.link('/a/x', '/a/y');
  const one = withoutTable(before);
  const ino = one.ino('/a/x');
  one.unlink('/a/x');
  Object.assign(failing, { call: 'readDirectory', errno: EMFILE, skip: 0 });
  expect(one.fs.getattr(ino, one.out)).toBe(EMFILE);
  expect(one.fs.open(ino, 0, false)).toBe(EMFILE);
  failing.call = undefined;
  expect(one.fs.getattr(ino, one.out)).toBe(0);
  expect(one.out.nlink).toBe(1);
});

test('a mount whose index of hard links cannot be read does not begin', () => {
  const one = layered();
  one.overwrite('/a/f', 'changed');
  for (const call of ['readDirectory', 'statusAt'] as const) {
    Object.assign(failing, { call, errno: EMFILE, skip: 0, dir: one.prepared.index });
    expect(() => one.fs.begin(), call).toThrow(/the index of hard links/);
    failing.call = undefined;
  }
  one.fs.begin();
  expect(one.read('/a/l')).toBe('changed of f');
});
