/** Hard links of the image without an index: each name is a file of its own once it is changed, as in overlayfs. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ENOENT, isErrno } from '../../../src/base/errno.ts';
import { getXattrAt } from '../../../src/system/xattr-calls.ts';
import { OverlayXattrNames } from '../../../src/upper/overlay-names.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { type LayeredTree, type LayerOptions, ownTree, useLayers, writer } from './layered-fixture.ts';

const at = useScratch();
const tree = ownTree({
  '/a': directory,
  '/a/first': file('of the image'),
  '/a/second': '/a/first',
  '/b': directory,
  '/b/third': '/a/first',
  '/b/alone': file('alone'),
});
const { layered, withoutTable } = useLayers(tree, at);
const WITHOUT: LayerOptions = { settings: { index: false } };
const ORIGIN = new OverlayXattrNames(!isRoot).names.origin;
const NAMES = ['/a/first', '/a/second', '/b/third'];

const looks = (one: LayeredTree): (string | number)[][] =>
  NAMES.map((name) => [one.stat(name).nlink, one.stat(name).shownIno, one.read(name)]);
const byHandle = (one: LayeredTree, ino: number): unknown => one.fs.lookup(ino, Buffer.from('.'), one.out);

test('unchanged names show one inode number and three links, and are inodes of their own', () => {
  const one = layered(WITHOUT);
  const shown = new Set(NAMES.map((name) => one.stat(name).shownIno));
  expect(shown.size).toBe(1);
  expect(NAMES.map((name) => one.stat(name).nlink)).toEqual([3, 3, 3]);
  expect(new Set(NAMES.map((name) => one.ino(name))).size).toBe(3);
  const listed: number[] = [];
  expect(one.fs.readdir(one.ino('/a'), 2, true, one.out, () => listed.push(one.out.ino) > 0)).toBe(0);
  expect(listed).toEqual(NAMES.slice(0, 2).map((name) => one.ino(name)));
});

test('a change of one name is seen at no other, and no entry of an index is made', () => {
  const one = layered(WITHOUT);
  const before = NAMES.map((name) => one.ino(name));
  const [shown] = NAMES.map((name) => one.stat(name).shownIno);
  one.overwrite('/a/second', 'WRITTEN');
  expect(looks(one)).toEqual([
    [3, shown, 'of the image'],
    [1, before[1], 'WRITTENimage'],
    [3, shown, 'of the image'],
  ]);
  expect(NAMES.map((name) => one.ino(name))).toEqual(before);
  expect(existsSync(join(one.dir, 'w/index'))).toBe(false);
  expect(statSync(join(one.dir, 'u/a/second')).nlink).toBe(1);
  const upper = one.prepared.upper;
  expect(isErrno(getXattrAt(upper, Buffer.from('a/second'), ORIGIN) as number)).toBe(true);
  expect(readdirSync(join(one.dir, 'u'))).toEqual(['a']);
});

test('names keep their ids without a table, and their handles', () => {
  const one = layered(WITHOUT);
  one.change('/b/third', { mode: 0o600 });
  one.overwrite('/a/first', 'first');
  const before = NAMES.map((name) => one.ino(name));
  const now = looks(one);
  const next = withoutTable(one, WITHOUT);
  for (const ino of before) expect(byHandle(next, ino)).toBe(0);
  expect(NAMES.map((name) => next.ino(name))).toEqual(before);
  expect(looks(next)).toEqual(now);
});

test('an id of the image that stands for several names leads to none of them', () => {
  const one = layered(WITHOUT);
  expect(byHandle(one, one.stat('/a/first').shownIno)).toBe(ENOENT);
  expect(byHandle(one, one.ino('/b/alone'))).toBe(0);
});

test('names are removed, renamed and linked one by one', () => {
  const one = layered(WITHOUT);
  const [first, second, third] = NAMES.map((name) => one.ino(name)) as [number, number, number];
  one.unlink('/a/first');
  expect(one.fs.getattr(first, one.out)).toBe(0);
  expect(one.out.nlink).toBe(0);
  one.rename('/a/second', '/b/moved');
  expect(one.ino('/b/moved')).toBe(second);
  one.link('/b/third', '/b/linked');
  expect([one.ino('/b/linked'), one.stat('/b/linked').nlink]).toEqual([third, 2]);
  one.overwrite('/b/third', 'THIRD');
  expect(['/b/moved', '/b/linked'].map((name) => one.read(name))).toEqual(['of the image', 'THIRDe image']);
  const next = withoutTable(one, WITHOUT);
  expect([next.list('/a', 9), next.list('/b', 9)]).toEqual([[], ['alone', 'linked', 'moved', 'third']]);
  expect([next.ino('/b/moved'), next.ino('/b/third')]).toEqual([second, third]);
  expect(readFileSync(join(next.dir, 'u/b/third'), 'utf8')).toBe('THIRDe image');
});

test('a file that was unlinked while it was unchanged can still be written', () => {
  const one = layered(WITHOUT);
  const ino = one.ino('/a/first');
  one.unlink('/a/first');
  expect(one.fs.write(ino, 0, Buffer.from('ORPHAN'), false)).toBe(6);
  const into = Buffer.alloc(12);
  expect(one.fs.read(ino, 0, into)).toBe(12);
  expect(into.toString()).toBe('ORPHAN image');
  expect(one.read('/a/second')).toBe('of the image');
});

test('with an index again, changed names are files of their own, and the others are links of one', () => {
  const one = layered(WITHOUT);
  one.overwrite('/a/second', 'WRITTEN');
  const changed = one.ino('/a/second');
  const next = withoutTable(one);
  expect(next.ino('/a/second')).toBe(changed);
  expect(next.read('/a/first')).toBe('of the image');
  expect(next.ino('/a/first')).toBe(next.ino('/b/third'));
  next.overwrite('/b/third', 'THIRD');
  expect(NAMES.map((name) => next.read(name))).toEqual(['THIRDe image', 'WRITTENimage', 'THIRDe image']);
});

test('a work directory with an index of hard links is refused', () => {
  const one = layered();
  one.overwrite('/a/second', 'WRITTEN');
  expect(() => withoutTable(one, WITHOUT)).toThrow(/it has an index of hard links/);
  const next = layered({}, one.dir);
  expect(next.read('/a/first')).toBe('WRITTENimage');
  expect(next.fs.unlink(next.ino('/a'), Buffer.from('first'), writer())).toBe(0);
});
