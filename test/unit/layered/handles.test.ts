/** Files of the image by their ids alone, as a handle names them, and after the table was lost. */
import { expect, test } from 'vitest';
import { ENOENT } from '../../../src/base/errno.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { type LayeredTree, ownTree, useLayers } from './layered-fixture.ts';

const at = useScratch();
const paths = {
  '/a': directory,
  '/a/f': file('content of f'),
  '/a/h': file('content of h'),
  '/a/l': '/a/h',
  '/b': directory,
  '/b/f': file('another file'),
};
const tree = ownTree(paths);
const { layered, withoutTable } = useLayers(tree, at);

/** As the kernel asks for the inode of a handle. */
const byHandle = (one: LayeredTree, ino: number): unknown => one.fs.lookup(ino, Buffer.from('.'), one.out);

test('a handle of an unchanged file is that of the image', () => {
  const one = layered();
  const ino = one.ino('/a/f');
  const next = withoutTable(one);
  expect(byHandle(next, ino)).toBe(0);
  expect(next.out).toMatchObject({ ino, size: 12 });
});

test('a handle of a changed file has its changes', () => {
  const one = layered();
  const ino = one.ino('/a/f');
  one.overwrite('/a/f', 'a longer content of f');
  const next = withoutTable(one);
  expect(byHandle(next, ino)).toBe(0);
  expect(next.out).toMatchObject({ ino, size: 21 });
});

test.runIf(isRoot)('handles of moved files and directories lead to their new places', () => {
  const one = layered();
  const [moved, inside] = [one.ino('/a'), one.ino('/a/f')];
  one.overwrite('/b/f', 'a longer content of f');
  const changed = one.ino('/b/f');
  one.rename('/b/f', '/g');
  one.mkdir('/new');
  one.rename('/a', '/new/moved');
  const next = withoutTable(one);
  expect(byHandle(next, inside)).toBe(0);
  expect(next.out).toMatchObject({ ino: inside, nlink: 1 });
  expect(byHandle(next, changed)).toBe(0);
  expect(next.out.size).toBe(21);
  expect(byHandle(next, moved)).toBe(0);
  expect(next.fs.lookup(moved, Buffer.from('..'), next.out)).toBe(0);
  expect(next.out.ino).toBe(next.ino('/new'));
});

test('a handle of a removed file or directory leads nowhere', () => {
  const one = layered({ isKnown: () => false });
  const inos = ['/b/f', '/b', '/a/h'].map((path) => one.ino(path));
  one.unlink('/b/f');
  one.rmdir('/b');
  one.unlink('/a/h');
  one.unlink('/a/l');
  for (const ino of inos) one.fs.forget(ino);
  expect(inos.map((ino) => byHandle(one, ino))).toEqual(inos.map(() => ENOENT));
  const next = withoutTable(one);
  expect(inos.map((ino) => byHandle(next, ino))).toEqual(inos.map(() => ENOENT));
});

test('a handle of a file with a removed name leads to the other one', () => {
  const one = layered();
  const ino = one.ino('/a/h');
  one.unlink('/a/h');
  const next = withoutTable(one);
  expect(byHandle(next, ino)).toBe(0);
  expect(next.out).toMatchObject({ ino, nlink: 1 });
});
