import { existsSync, lstatSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { RENAME_EXCHANGE } from '../../../src/fs/writable-filesystem.ts';
import { IdentityTable, tableBytes } from '../../../src/upper/identity-table.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file, inline, symlink } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { ownTree, useLayers, writer } from './layered-fixture.ts';

const at = useScratch();
const LARGE = Buffer.alloc(200_000, 'all work and no play ');
const paths = {
  '/bin': directory,
  '/bin/tool': file(LARGE),
  '/bin/also-tool': '/bin/tool',
  '/bin/small': file('small'),
  '/empty-directory': directory,
  '/etc': directory,
  '/etc/conf.d': directory,
  '/etc/conf.d/a': inline('a = 1\n'),
  '/etc/current': symlink('conf.d/a'),
  '/many': directory,
  ...Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`/many/${i}`, inline(`${i}`)])),
};
const tree = ownTree(paths);
// another table: as after a mount of Linux, which removes it
const { layered, withoutTable: again } = useLayers(tree, at);

const upper = (one: { readonly dir: string }, path: string): string => join(one.dir, 'u', path);

describe('a new file', () => {
  test('is in the upper directory, and has an id that survives the table', () => {
    const one = layered();
    const ino = one.write('/etc/new', 'content');
    expect(one.read('/etc/new')).toBe('content');
    expect(readFileSync(upper(one, 'etc/new'), 'utf8')).toBe('content');
    const { generation } = one.stat('/etc/new');
    const next = again(one);
    expect(next.stat('/etc/new')).toMatchObject({ ino, generation, size: 7 });
  });

  test('is open for reading and writing, whatever its mode is', () => {
    const one = layered();
    const opened = one.at('/etc/new', (parent, name) => one.fs.create(parent, name, 0, 2, writer(), one.out));
    expect(one.out).toMatchObject({ mode: 0o100000, nlink: 1, size: 0 });
    expect(writeSync(opened.fd, 'content')).toBe(7);
    one.fs.closeContent(opened);
    expect(one.stat('/etc/new')).toMatchObject({ ino: one.out.ino, mode: 0o100000, size: 7 });
  });

  test.runIf(isRoot)('belongs to its writer, and to the group of a set-group directory', () => {
    const one = layered();
    one.write('/etc/new', '', { uid: 7, gid: 8 });
    expect(one.stat('/etc/new')).toMatchObject({ uid: 7, gid: 8 });
    one.change('/etc', { gid: 9, mode: 0o2755 });
    one.write('/etc/grouped', '', { uid: 7, gid: 8 });
    one.write('/etc/of-root', '', { uid: 0, gid: 8 });
    expect(one.stat('/etc/grouped')).toMatchObject({ uid: 7, gid: 9 });
    expect(one.stat('/etc/of-root')).toMatchObject({ uid: 0, gid: 9 });
  });

  test('takes the place of a removed one of the image', () => {
    const one = layered();
    const before = one.ino('/bin/small');
    one.unlink('/bin/small');
    expect(() => one.stat('/bin/small')).toThrow('ENOENT');
    expect(lstatSync(upper(one, 'bin/small')).isCharacterDevice()).toBe(true);
    const ino = one.write('/bin/small', 'other');
    expect(ino).not.toBe(before);
    expect(one.read('/bin/small')).toBe('other');
    expect(one.list('/bin')).toEqual(['also-tool', 'small', 'tool']);
  });

  test('is refused where the image has the name', () => {
    const one = layered();
    expect(() => one.write('/bin/small', '')).toThrow('EEXIST');
    expect(() => one.mkdir('/etc')).toThrow('EEXIST');
  });

  test('is found by its id after a mount without a table', () => {
    const one = layered();
    one.mkdir('/etc/conf.d/deep');
    const ino = one.write('/etc/conf.d/deep/file', 'x');
    const next = again(one);
    const out = { ...next.out };
    expect(next.fs.getattr(ino, out)).toBe(0);
    expect(out).toMatchObject({ ino, size: 1 });
    expect(next.fs.pathOf(ino)).toBe('/etc/conf.d/deep/file');
  });
});

describe('copying up', () => {
  test('keeps id, generation, attributes and content', () => {
    const one = layered();
    const before = one.stat('/bin/small');
    one.overwrite('/bin/small', 'SM');
    expect(one.read('/bin/small')).toBe('SMall');
    expect(one.stat('/bin/small')).toMatchObject({ ino: before.ino, generation: before.generation, nlink: 1 });
    expect(again(one).stat('/bin/small')).toMatchObject({ ino: before.ino, generation: before.generation });
  });

  test('keeps the hard links of a file together', () => {
    const one = layered();
    const { ino } = one.stat('/bin/tool');
    one.overwrite('/bin/tool', 'changed');
    expect(one.read('/bin/also-tool').slice(0, 7)).toBe('changed');
    expect(one.stat('/bin/also-tool')).toMatchObject({ ino, nlink: 2 });
    one.unlink('/bin/tool');
    expect(one.stat('/bin/also-tool')).toMatchObject({ ino, nlink: 1 });
    one.link('/bin/also-tool', '/etc/third');
    expect(one.stat('/etc/third')).toMatchObject({ ino, nlink: 2 });
    const next = again(one);
    expect(next.stat('/etc/third')).toMatchObject({ ino, nlink: 2 });
    expect(next.read('/bin/also-tool').slice(0, 7)).toBe('changed');
  });

  test.runIf(isRoot)('shows the data of the image through names that only the image has, after a remount, too', () => {
    const one = layered();
    one.change('/bin/tool', { mode: 0o600 });
    one.unlink('/bin/also-tool');
    expect(existsSync(upper(one, 'bin/tool'))).toBe(false);
    const next = again(one);
    expect(next.stat('/bin/tool')).toMatchObject({ mode: 0o100600, nlink: 1 });
    expect(next.read('/bin/tool')).toBe(LARGE.toString());
    next.overwrite('/bin/tool', 'ALL');
    expect(next.read('/bin/tool')).toBe(LARGE.toString().replace('all', 'ALL'));
  });

  test.runIf(isRoot)('copies no data for a change of mode or owner', () => {
    const one = layered();
    const { ino } = one.stat('/bin/small');
    expect(one.change('/bin/small', { mode: 0o600, uid: 7, gid: 8 })).toMatchObject({ ino, uid: 7, gid: 8, size: 5 });
    expect(readFileSync(upper(one, 'bin/small'))).toEqual(Buffer.alloc(5));
    expect(one.read('/bin/small')).toBe('small');
    const next = again(one);
    expect(next.stat('/bin/small')).toMatchObject({ ino, mode: 0o100600, uid: 7, gid: 8 });
    expect(next.read('/bin/small')).toBe('small');
    next.overwrite('/bin/small', 'S');
    expect(next.read('/bin/small')).toBe('Small');
    expect(next.stat('/bin/small')).toMatchObject({ mode: 0o100600, uid: 7 });
  });

  test('of a file that is emptied copies nothing', () => {
    const one = layered();
    one.overwrite('/bin/small', 'x', 0o1001);
    expect(one.read('/bin/small')).toBe('x');
    expect(one.change('/bin/tool', { size: 3 }).size).toBe(3);
    expect(one.read('/bin/also-tool')).toBe('all');
  });
});

describe('a change of the size', () => {
  test('copies only what is left', () => {
    const one = layered();
    expect(one.change('/bin/tool', { size: 1000 })).toMatchObject({ size: 1000 });
    expect(one.read('/bin/tool')).toBe(LARGE.toString('latin1', 0, 1000));
    expect(one.change('/bin/small', { size: 8 })).toMatchObject({ size: 8 });
    expect(one.read('/bin/small')).toBe('small\0\0\0');
  });

  test.runIf(isRoot)('of a file without data of its own shows what is left after each step', () => {
    const one = layered();
    one.change('/bin/tool', { mode: 0o700 });
    expect(one.change('/bin/tool', { size: 1000 })).toMatchObject({ size: 1000, mode: 0o100700 });
    expect(again(one).read('/bin/also-tool')).toBe(LARGE.toString('latin1', 0, 1000));
  });
});

describe('a table that is nearly full', () => {
  test('gives up the rows of files that are closed, and finds them again', () => {
    const small = IdentityTable.create(new SharedArrayBuffer(tableBytes(40)), 40, new Uint8Array(32));
    const one = layered({ isKnown: () => false }, at('small'), small);
    const inodes = new Map<string, number>();
    for (let i = 0; i < (isRoot ? 100 : 20); i++) {
      const ino = one.write(`/etc/new-${i}`, `${i}`);
      inodes.set(`/etc/new-${i}`, ino);
      one.fs.forget(ino);
    }
    for (const [path, ino] of inodes) {
      expect(one.fs.getattr(ino, one.out)).toBe(0);
      one.fs.forget(ino);
      expect(one.ino(path)).toBe(ino);
      one.fs.forget(ino);
    }
  });
});

describe('an unlinked file', () => {
  test('is there until the kernel forgets it', () => {
    let known = true;
    const one = layered({ isKnown: () => known });
    const ino = one.write('/etc/new', 'content');
    one.unlink('/etc/new');
    expect(one.fs.getattr(ino, one.out)).toBe(0);
    expect(one.out).toMatchObject({ nlink: 0, size: 7 });
    const into = Buffer.alloc(7);
    expect(one.fs.read(ino, 0, into)).toBe(7);
    // a FORGET that the kernel sent for another reference
    one.fs.forget(ino);
    expect(readdirSync(join(one.dir, 'w/cfs/orphans'))).toHaveLength(1);
    known = false;
    one.fs.forget(ino);
    expect(readdirSync(join(one.dir, 'w/cfs/orphans'))).toEqual([]);
    expect(one.fs.getattr(ino, one.out)).toBeLessThan(0);
  });

  test('of the image has no links, and its content', () => {
    let known = true;
    const one = layered({ isKnown: () => known });
    const { ino } = one.stat('/bin/small');
    one.unlink('/bin/small');
    expect(one.fs.getattr(ino, one.out)).toBe(0);
    expect(one.out.nlink).toBe(0);
    const into = Buffer.alloc(5);
    expect(one.fs.read(ino, 0, into)).toBe(5);
    known = false;
    one.fs.forget(ino);
    expect(one.table.find(ino)).toBe(-1);
  });

  test('may get a name again', () => {
    const one = layered();
    expect(one.fs.tmpfile(1, 0o600, writer(), one.out)).toMatchObject({ fd: expect.any(Number) });
    const { ino } = one.out;
    expect(one.out.nlink).toBe(0);
    one.at('/etc/named', (parent, name) => one.fs.link(ino, parent, name, writer(), one.out));
    expect(one.stat('/etc/named')).toMatchObject({ ino, nlink: 1, mode: 0o100600 });
  });
});

describe('a directory', () => {
  test('is removed only when it is empty', () => {
    const one = layered();
    expect(() => one.rmdir('/etc')).toThrow('ENOTEMPTY');
    one.rmdir('/empty-directory');
    expect(() => one.stat('/empty-directory')).toThrow('ENOENT');
    one.unlink('/etc/current');
    one.unlink('/etc/conf.d/a');
    one.rmdir('/etc/conf.d');
    one.rmdir('/etc');
    expect(one.list('/')).toEqual(['bin', 'many']);
    // nothing of the image is seen through a new one
    one.mkdir('/etc');
    expect(one.list('/etc')).toEqual([]);
    expect(again(one).list('/etc')).toEqual([]);
  });

  test.runIf(isRoot)('of the image is renamed with what is in it', () => {
    const one = layered();
    const { ino } = one.stat('/etc/conf.d');
    one.rename('/etc/conf.d', '/bin/moved');
    one.write('/bin/moved/b', 'b');
    expect(one.list('/bin/moved')).toEqual(['a', 'b']);
    expect(one.read('/bin/moved/a')).toBe('a = 1\n');
    expect(one.stat('/bin/moved').ino).toBe(ino);
    expect(() => one.stat('/etc/conf.d')).toThrow('ENOENT');
    one.rename('/bin', '/sbin');
    one.rename('/sbin/moved', '/many/again');
    const next = again(one);
    expect(next.list('/many/again')).toEqual(['a', 'b']);
    expect(next.stat('/many/again').ino).toBe(ino);
    expect(next.list('/sbin')).toEqual(['also-tool', 'small', 'tool']);
  });

  test('replaces an empty one', () => {
    const one = layered();
    one.mkdir('/new');
    one.write('/new/file', 'x');
    one.rename('/new', '/empty-directory');
    expect(one.list('/empty-directory')).toEqual(['file']);
    expect(() => one.rename('/empty-directory', '/etc')).toThrow('ENOTEMPTY');
    expect(again(one).list('/empty-directory')).toEqual(['file']);
  });

  test('is listed once and completely while it changes', () => {
    const one = layered();
    for (let i = 20; i < 60; i++) one.write(`/many/${i}`, '');
    one.unlink('/many/3');
    one.unlink('/many/23');
    one.overwrite('/many/5', 'five');
    const expected = Array.from({ length: 60 }, (_, i) => `${i}`).filter((name) => name !== '3' && name !== '23');
    expect(one.list('/many')).toEqual(expected.sort());
    const { ino } = one.stat('/many');
    const names: string[] = [];
    for (let from = 0, more = true, step = 0; more; step++) {
      more = false;
      one.fs.readdir(ino, from, false, one.out, (name, next) => {
        if (more) return false;
        more = true;
        from = next;
        names.push(Buffer.from(name).toString());
        return true;
      });
      if (step < 15) one.write(`/many/new-${step}`, '');
      if (step < 10) one.overwrite(`/many/${step + 9}`, 'changed');
    }
    const old = names.filter((name) => /^\d+$/.test(name));
    expect(old.sort()).toEqual(expected.sort());
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('renaming', () => {
  test('moves files over others, and leaves whiteouts', () => {
    const one = layered();
    const { ino } = one.stat('/bin/small');
    one.rename('/bin/small', '/etc/conf.d/a');
    expect(one.stat('/etc/conf.d/a').ino).toBe(ino);
    expect(one.read('/etc/conf.d/a')).toBe('small');
    expect(one.list('/bin')).toEqual(['also-tool', 'tool']);
    expect(lstatSync(upper(one, 'bin/small')).isCharacterDevice()).toBe(true);
    const next = again(one);
    expect(next.stat('/etc/conf.d/a').ino).toBe(ino);
    expect(next.read('/etc/conf.d/a')).toBe('small');
  });

  test('exchanges two', () => {
    const one = layered();
    const [a, b] = [one.ino('/bin/small'), one.write('/etc/new', 'new')];
    one.rename('/bin/small', '/etc/new', RENAME_EXCHANGE);
    expect([one.ino('/bin/small'), one.ino('/etc/new')]).toEqual([b, a]);
    expect(one.read('/bin/small')).toBe('new');
  });

  test('is done once if the server got the request twice', () => {
    const one = layered();
    one.write('/etc/new', 'new');
    let noted: readonly [number, number] = [0, 0];
    const note = (a: number, b: number): void => {
      noted = [a, b];
    };
    const [etc, bin] = [one.ino('/etc'), one.ino('/bin')];
    const call = (again: boolean): number =>
      one.fs.rename(etc, Buffer.from('new'), bin, Buffer.from('new'), 0, writer({ note, again, noted }));
    expect(call(false)).toBe(0);
    expect(call(true)).toBe(0);
    expect(one.read('/bin/new')).toBe('new');
  });
});

test('a search of the whole upper layer keeps few directories open', () => {
  const one = layered();
  for (let i = 0; i < 700; i++) one.mkdir(`/d${i}`);
  const ino = one.write('/d699/file', 'x');
  const next = again(one);
  const before = readdirSync('/proc/self/fd').length;
  expect(next.fs.getattr(ino, next.out)).toBe(0);
  expect(readdirSync('/proc/self/fd').length - before).toBeLessThan(300);
  expect(next.fs.pathOf(ino)).toBe('/d699/file');
});

describe('the upper layer', () => {
  test('may be changed by hand between two mounts', () => {
    const one = layered();
    one.mkdir('/etc/by-mount');
    writeFileSync(upper(one, 'etc/by-mount/by-hand'), 'x');
    const next = again(one);
    expect(next.read('/etc/by-mount/by-hand')).toBe('x');
    const { ino } = next.stat('/etc/by-mount/by-hand');
    expect(again(next).ino('/etc/by-mount/by-hand')).toBe(ino);
  });

  test('of a file that was removed leaves nothing in the work directory', () => {
    const one = layered({ isKnown: () => false });
    const ino = one.write('/etc/new', 'x');
    one.unlink('/etc/new');
    one.fs.forget(ino);
    one.rename('/bin/small', '/bin/other');
    expect(readdirSync(join(one.dir, 'w/cfs/orphans'))).toEqual([]);
    if (isRoot) expect(readdirSync(join(one.dir, 'w/work')).filter((name) => name !== '#whiteout')).toEqual([]);
    expect(existsSync(upper(one, 'bin/other'))).toBe(true);
  });
});

describe('extended attributes', () => {
  test('are those of the file, without the ones of the layer', () => {
    const one = layered();
    const { ino } = one.stat('/bin/small');
    const name = Buffer.from('user.note');
    expect(one.fs.setxattr(ino, name, Buffer.from('value'), 0, false, writer())).toBe(0);
    expect(Buffer.from(one.fs.getxattr(ino, name) as Uint8Array).toString()).toBe('value');
    expect(Buffer.from(one.fs.listxattr(ino) as Uint8Array).toString()).toBe('user.note\0');
    expect(one.fs.removexattr(ino, name, writer())).toBe(0);
    expect(one.fs.removexattr(ino, name, writer())).toBeLessThan(0);
  });

  test.runIf(isRoot)('of users with the names of overlayfs are kept apart', () => {
    const one = layered();
    const ino = one.mkdir('/new');
    const name = Buffer.from('trusted.overlay.opaque');
    expect(one.fs.setxattr(ino, name, Buffer.from('y'), 0, false, writer())).toBe(0);
    expect(Buffer.from(one.fs.getxattr(ino, name) as Uint8Array).toString()).toBe('y');
    expect(again(one).list('/new')).toEqual([]);
  });
});
