/** Changes of attributes that a copy has before its name, and renames that find out by themselves what is there. */
import { execFileSync } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PERMISSIONS } from '../../../src/base/stat-bits.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file, symlink, treeOf } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { ownTree, useLayers } from './layered-fixture.ts';

const at = useScratch();
const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const CONTENT = 'content of the image';
const tree = treeOf(
  { '/bin': directory, '/bin/tool': file(CONTENT), '/bin/link': symlink('tool'), '/bin/other': file('other') },
  {
    '/': { ...own, mode: 0o755 },
    '/bin': { ...own, mode: 0o755 },
    '/bin/tool': { ...own, mode: 0o6755 },
    '/bin/link': { ...own, mode: 0o777 },
    '/bin/other': { ...own, mode: 0o600 },
  },
);
const { layered } = useLayers(tree, at);

describe('attributes of a file of the image', () => {
  test('are changed together, and all others are kept', () => {
    const one = layered();
    const before = one.stat('/bin/tool');
    const time = { low: 1_000_000_000, high: 0, nsec: 7 };
    const after = one.change('/bin/tool', { mode: 0o640, mtime: time });
    expect(after).toMatchObject({ ino: before.ino, mode: (before.mode & ~PERMISSIONS) | 0o640, nlink: 1 });
    expect([after.mtimeLow, after.mtimeNsec, after.size]).toEqual([1_000_000_000, 7, CONTENT.length]);
    expect([after.uid, after.gid, after.atimeLow]).toEqual([before.uid, before.gid, before.mtimeLow]);
    expect(one.stat('/bin/tool')).toEqual(after);
    expect(one.read('/bin/tool')).toBe(CONTENT);
    expect(readdirSync(join(one.dir, 'w/work')).filter((name) => name.startsWith('#'))).toEqual([]);
  });

  test.runIf(isRoot)('a change of owner removes set-id bits, and one of the mode beside it sets them', () => {
    const one = layered();
    expect(one.change('/bin/tool', { uid: 7, gid: 8 })).toMatchObject({ uid: 7, gid: 8 });
    expect(one.stat('/bin/tool').mode & PERMISSIONS).toBe(0o755);
    const both = layered();
    expect(both.change('/bin/tool', { uid: 7, gid: 8, mode: 0o4711 })).toMatchObject({ uid: 7, gid: 8 });
    expect(both.stat('/bin/tool').mode & PERMISSIONS).toBe(0o4711);
    const group = layered();
    expect(group.change('/bin/tool', { gid: 8 })).toMatchObject({ uid: own.uid, gid: 8 });
  });

  test.runIf(isRoot)('a directory and a symbolic link get another owner', () => {
    const one = layered();
    one.change('/bin', { uid: 7, gid: 8 });
    one.change('/bin/link', { uid: 7, gid: 8 });
    expect(one.stat('/bin')).toMatchObject({ uid: 7, gid: 8 });
    expect(one.stat('/bin/link')).toMatchObject({ uid: 7, gid: 8 });
    expect(lstatSync(join(one.dir, 'u/bin/link')).gid).toBe(8);
  });

  test.runIf(isRoot)('a copy of a server that was killed gets the change, too', () => {
    const first = layered();
    first.change('/bin/tool', { mode: 0o640 });
    // the file is there, and the table does not know it
    first.table.remove(first.table.find(first.ino('/bin/tool')));
    const after = first.change('/bin/tool', { mode: 0o600, uid: 7, gid: 8 });
    expect(after).toMatchObject({ uid: 7, gid: 8 });
    expect(after.mode & PERMISSIONS).toBe(0o600);
    expect(statSync(join(first.dir, 'u/bin/tool')).uid).toBe(7);
  });

  test('a copy that cannot be changed is not made', () => {
    const one = layered();
    expect(() => one.change('/bin/tool', { mtime: { low: 1, high: 0, nsec: 2_000_000_000 } })).toThrow('EINVAL');
    expect(readdirSync(join(one.dir, 'u/bin'))).toEqual([]);
    expect(one.stat('/bin/tool').mode & PERMISSIONS).toBe(0o6755);
  });
});

describe('a new file', () => {
  const NOREPLACE = 1;
  const plain = useLayers(ownTree({ '/bin': directory, '/bin/tool': file(CONTENT) }), (name) => at(`plain-${name}`));

  test('is moved to a free name, and found there', () => {
    const one = plain.layered();
    const ino = one.write('/bin/new', 'new');
    one.mkdir('/dir');
    one.rename('/bin/new', '/bin/newer', NOREPLACE);
    one.rename('/bin/newer', '/dir/newest');
    expect(one.ino('/dir/newest')).toBe(ino);
    expect([one.list('/bin'), one.list('/dir')]).toEqual([['tool'], ['newest']]);
    expect(one.table.names(one.table.find(ino)).map(({ name }) => Buffer.from(name).toString())).toEqual(['newest']);
  });

  test('replaces a file of either layer, but not if that is refused', () => {
    const one = plain.layered();
    const ino = one.write('/bin/new', 'new');
    one.write('/bin/old', 'old');
    expect(() => one.rename('/bin/new', '/bin/old', NOREPLACE)).toThrow('EEXIST');
    expect(() => one.rename('/bin/new', '/bin/tool', NOREPLACE)).toThrow('EEXIST');
    one.rename('/bin/new', '/bin/old');
    one.rename('/bin/old', '/bin/tool');
    expect([one.ino('/bin/tool'), one.read('/bin/tool'), one.list('/bin')]).toEqual([ino, 'new', ['tool']]);
  });

  test('takes the name of a removed file of the image', () => {
    const one = plain.layered();
    one.write('/bin/new', 'new');
    one.unlink('/bin/tool');
    one.rename('/bin/new', '/bin/tool');
    expect(one.read('/bin/tool')).toBe('new');
    one.rename('/bin/tool', '/bin/new');
    expect(one.list('/bin')).toEqual(['new']);
  });

  test('stays if both names are its own', () => {
    const one = plain.layered();
    one.write('/bin/new', 'new');
    one.link('/bin/new', '/bin/second');
    one.rename('/bin/new', '/bin/second');
    one.rename('/bin/new', '/bin/new');
    expect(one.list('/bin')).toEqual(['new', 'second', 'tool']);
  });

  test.runIf(isRoot)('replaces a whiteout that hides nothing', () => {
    const one = plain.layered();
    one.write('/bin/new', 'new');
    execFileSync('mknod', [join(one.dir, 'u/bin/gone'), 'c', '0', '0']);
    one.rename('/bin/new', '/bin/gone');
    expect(readFileSync(join(one.dir, 'u/bin/gone'), 'latin1')).toBe('new');
    expect(one.list('/bin')).toEqual(['gone', 'tool']);
  });
});
