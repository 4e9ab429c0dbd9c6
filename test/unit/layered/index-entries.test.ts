/** Files of the image with several names, and the index that keeps them together. */
import { closeSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { setXattrAt } from '../../../src/system/xattr-calls.ts';
import { encodeOrigin } from '../../../src/upper/overlay-format.ts';
import { indexName } from '../../../src/upper/overlay-names.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { type Layered, ownTree, useLayers, writer } from './layered-fixture.ts';

const at = useScratch();
const paths = { '/a': directory, '/a/h': file('content of h'), '/b': directory, '/b/h': '/a/h' };
const tree = ownTree(paths);
const { layered, withoutTable } = useLayers(tree, at);

const index = (one: Layered): string => join(one.dir, 'w/index');
const orphans = (one: Layered): string => join(one.dir, 'w/cfs/orphans');
const nameOf = (ino: number): string => ino.toString(16).padStart(13, '0');

describe('a server that was killed after it moved the last name to the orphans', () => {
  /** /b/x is the only name. */
  function killed(): { one: Layered; ino: number } {
    const one = layered();
    const { ino } = one.stat('/a/h');
    one.unlink('/a/h');
    one.rename('/b/h', '/b/x');
    expect(one.stat('/b/x').nlink).toBe(1);
    renameSync(join(one.dir, 'u/b/x'), join(orphans(one), nameOf(ino)));
    return { one, ino };
  }

  test('left an inode without names, and an entry that the next server removes', () => {
    const { one, ino } = killed();
    one.fs.resume();
    expect(one.fs.getattr(ino, one.out)).toBe(0);
    expect(one.out).toMatchObject({ ino, nlink: 0 });
    expect(readdirSync(index(one))).toEqual([]);
    expect(one.list('/b')).toEqual([]);
  });

  test('left the same if it gets the request again', () => {
    const { one, ino } = killed();
    const resent = writer({ again: true, noted: [ino, 0] });
    expect(one.fs.unlink(one.ino('/b'), Buffer.from('x'), resent)).toBe(0);
    expect(one.fs.getattr(ino, one.out)).toBe(0);
    expect(one.out.nlink).toBe(0);
    expect(readdirSync(index(one))).toEqual([]);
  });

  test('left an entry that the next mount removes', () => {
    const { one, ino } = killed();
    rmSync(join(orphans(one), nameOf(ino)));
    const next = withoutTable(one);
    expect(readdirSync(index(next))).toEqual([]);
    expect(next.list('/b')).toEqual([]);
  });
});

test('links are counted after a server was killed while it linked a name', () => {
  const one = layered();
  const { ino } = one.stat('/a/h');
  one.rename('/b/h', '/b/x');
  const [entry] = readdirSync(index(one));
  const fd = openSync(join(index(one), entry as string), 'r');
  const name = Buffer.from(`${isRoot ? 'trusted' : 'user'}.overlay.nlink`);
  expect(setXattrAt(fd, Uint8Array.of(), name, Buffer.from('L+0'), 0)).toBe(0);
  closeSync(fd);
  expect(one.stat('/b/x').nlink).toBe(2);
  one.link('/b/x', '/b/y');
  expect(one.stat('/b/x').nlink).toBe(3);
  one.unlink('/b/x');
  one.unlink('/b/y');
  expect(one.stat('/a/h')).toMatchObject({ ino, nlink: 1 });
  one.unlink('/a/h');
  expect(readdirSync(index(one))).toEqual([]);
});

test('entries of directories, which Linux makes with nfs_export=on, are left alone', () => {
  const one = layered();
  const { ino, generation } = one.change('/a', { mode: 0o700 });
  const entry = Buffer.from(indexName(encodeOrigin(ino, generation))).toString();
  mkdirSync(join(index(one), entry));
  const next = withoutTable(one);
  expect(next.stat('/a')).toMatchObject({ ino, mode: 0o040700 });
  expect(next.list('/a')).toEqual(['h']);
  expect(readdirSync(index(next))).toEqual([entry]);
});
