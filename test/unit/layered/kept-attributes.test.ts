/** The kernel is notified of attributes that it keeps: of what a request copies up, and not of what it answers. */
import { expect, test } from 'vitest';
import { directory, file, inline } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { ownTree, useLayers } from './layered-fixture.ts';

const at = useScratch();
const tree = ownTree({
  '/a': directory,
  '/a/b': directory,
  '/a/b/file': file(Buffer.alloc(10_000, 'content ')),
  '/a/b/second': inline('second'),
  '/a/b/third': inline('third'),
});
const { layered } = useLayers(tree, at);

function notified() {
  const seen = new Set<number>();
  const one = layered({ isKnown: (ino) => seen.add(ino) !== undefined });
  const by = (work: () => unknown): Set<number> => {
    seen.clear();
    work();
    return new Set(seen);
  };
  const inodes = (...paths: readonly string[]): Set<number> => new Set(paths.map((path) => one.ino(path)));
  return { one, by, inodes };
}

test('copying up notifies the kernel of all directories that change', () => {
  const { one, by, inodes } = notified();
  // the answer to a SETATTR has the attributes of the file
  const first = by(() => one.change('/a/b/file', { mtime: 'now' }));
  expect(first).toEqual(inodes('/', '/a', '/a/b'));
  expect(by(() => one.change('/a/b/second', { mtime: 'now' }))).toEqual(inodes('/a/b'));
  expect(by(() => one.overwrite('/a/b/third', '3'))).toEqual(inodes('/a/b', '/a/b/third'));
});

test('changes without copying up cost no notification', () => {
  const { one, by } = notified();
  one.overwrite('/a/b/second', '2');
  one.write('/a/b/new', 'new');
  const later = by(() => {
    one.change('/a/b/second', { mtime: 'now' });
    one.overwrite('/a/b/second', '3');
    one.overwrite('/a/b/new', 'newer');
    one.write('/a/b/newest', 'new');
    one.mkdir('/a/b/directory');
    one.rename('/a/b/new', '/a/b/renamed');
    one.read('/a/b/renamed');
  });
  expect([...later]).toEqual([]);
});
