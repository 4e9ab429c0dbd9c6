/** What a server finds that was killed between two steps, and requests that come twice. */
import {
  closeSync,
  fstatSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENOSPC, errnoName, isErrno } from '../../../src/base/errno.ts';
import { orphanName } from '../../../src/layered/upper-tree.ts';
import { IdentityTable, tableBytes } from '../../../src/upper/identity-table.ts';
import { directory, file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { type Layered, type LayeredTree, ownTree, useLayers, writer } from './layered-fixture.ts';

const at = useScratch();
const paths = {
  '/a': directory,
  '/a/f': file('content of f'),
  '/a/g': file('content of g'),
  '/a/h': file('content of h'),
  '/b': directory,
  '/b/h': '/a/h',
  '/empty': directory,
};
const tree = ownTree(paths);
const { layered, withoutTable } = useLayers(tree, at);

const upper = (one: { readonly dir: string }, path: string): string => join(one.dir, 'u', path);
const change = (one: LayeredTree, ino: number): unknown =>
  one.fs.setattr(ino, { mode: 0o600, killPrivileges: false }, writer(), one.out);

describe('a file of which the table lacks a name', () => {
  /** A file with the names x and y, of which the new table knows x, which is removed then. */
  function halfKnown(): { one: Layered; ino: number } {
    const before = layered();
    before.write('/a/x', 'text');
    before.link('/a/x', '/a/y');
    const one = withoutTable(before);
    const ino = one.ino('/a/x');
    one.unlink('/a/x');
    return { one, ino };
  }

  test('has its attributes changed', () => {
    const { one, ino } = halfKnown();
    expect(change(one, ino)).toBe(0);
    expect(one.stat('/a/y')).toMatchObject({ ino, mode: 0o100600, nlink: 1 });
  });

  test('is read, written and synced', () => {
    const { one, ino } = halfKnown();
    expect(one.fs.write(ino, 0, Buffer.from('TEXT'), false)).toBe(4);
    expect(one.fs.sync(ino, false)).toBe(0);
    expect(one.read('/a/y')).toBe('TEXT');
  });

  test('gets extended attributes and links', () => {
    const { one, ino } = halfKnown();
    expect(one.fs.setxattr(ino, Buffer.from('user.note'), Buffer.from('v'), 0, false, writer())).toBe(0);
    one.at('/b/z', (parent, name) => one.fs.link(ino, parent, name, writer(), one.out));
    expect(one.ino('/b/z')).toBe(ino);
  });
});

describe('a file that the killed server moved, without a note in the table', () => {
  const replacements: [string, (path: string, one: Layered) => void][] = [
    ['nothing', () => undefined],
    ['another file', (path) => writeFileSync(path, 'other')],
    ['a directory', (path) => mkdirSync(path)],
    ['a symbolic link', (path) => symlinkSync('other', path)],
    [
      'a whiteout',
      (path, one) => {
        one.unlink('/a/f');
        renameSync(upper(one, '/a/f'), path);
      },
    ],
  ];

  test.each(replacements)('is opened, synced and changed, with %s in its place', (_, replace) => {
    const one = layered();
    const ino = one.write('/a/new', 'new');
    renameSync(upper(one, '/a/new'), upper(one, '/moved'));
    replace(upper(one, '/a/new'), one);
    expect(one.fs.sync(ino, false)).toBe(0);
    const opened = one.fs.open(ino, 1, false);
    if (isErrno(opened)) throw new Error(errnoName(opened));
    expect(fstatSync(opened.fd).size).toBe(3);
    closeSync(opened.fd);
    expect(change(one, ino)).toBe(0);
    expect(one.stat('/moved')).toMatchObject({ ino, mode: 0o100600 });
  });
});

test('a nameless file that the killed server linked has a name', () => {
  const one = layered();
  const made = one.fs.tmpfile(1, 0o600, writer(), one.out);
  if (!isErrno(made)) closeSync(made.fd);
  const { ino } = one.out;
  const [orphan] = readdirSync(join(one.dir, 'w/cfs/orphans'));
  one.mkdir('/new');
  renameSync(join(one.dir, 'w/cfs/orphans', orphan as string), upper(one, '/new/named'));
  one.fs.resume();
  const resent = writer({ again: true, noted: [ino, 0] });
  one.at('/new/named', (parent, name) => one.fs.link(ino, parent, name, resent, one.out));
  expect(one.out).toMatchObject({ ino, nlink: 1 });
  expect(change(one, ino)).toBe(0);
});

/** Takes from the table what `addRow` stores: the server was killed after the rename of a copy to its place. */
function forgetCopy(one: LayeredTree, ino: number): void {
  const row = one.table.find(ino);
  for (const { parent, name } of one.table.names(row)) one.table.removeName(row, parent, name);
  one.table.setFlags(row, 0, 0x7fff_ffff);
}

describe('a copy that the killed server had just put to its place', () => {
  test.each(['/a/f', '/a/h', '/a'])('is used again by the next one: %s', (path) => {
    const one = layered();
    const { ino } = one.stat(path);
    const isDirectory = path === '/a';
    change(one, ino);
    forgetCopy(one, ino);
    one.fs.resume();
    expect(change(one, ino)).toBe(0);
    expect(one.stat(path)).toMatchObject({ ino, mode: isDirectory ? 0o040600 : 0o100600 });
    if (isDirectory) one.change('/a', { mode: 0o755 });
    else {
      expect(one.fs.write(ino, 0, Buffer.from('CONTENT'), false)).toBe(7);
      expect(one.read(path)).toMatch(/^CONTENT/);
    }
    expect(one.list('/a')).toEqual(['f', 'g', 'h']);
  });

  test('is found by its name', () => {
    const one = layered();
    const { ino } = one.change('/a/f', { mode: 0o600 });
    forgetCopy(one, ino);
    expect(one.stat('/a/f')).toMatchObject({ ino, mode: 0o100600 });
    expect(change(one, ino)).toBe(0);
  });
});

describe('a directory that was moved over another one', () => {
  /** The state between the two renames. */
  function halfMoved(name: string): { one: Layered; inos: number[] } {
    const one = layered();
    one.mkdir('/source');
    one.write('/source/file', 'text');
    if (name === '/new') one.mkdir('/new');
    else change(one, one.ino(name));
    const inos = [one.ino('/source'), one.ino(name)];
    renameSync(upper(one, '/source'), upper(one, '/third'));
    renameSync(upper(one, name), upper(one, '/source'));
    renameSync(upper(one, '/third'), upper(one, name));
    const resent = writer({ again: true, noted: [inos[0] as number, inos[1] as number] });
    const bytes = (text: string): Uint8Array => Buffer.from(text.slice(1));
    expect(one.fs.rename(1, bytes('/source'), 1, bytes(name), 0, resent)).toBe(0);
    return { one, inos };
  }

  test.each(['/new', '/empty'])('has moved once if the request comes twice: over %s', (name) => {
    const { one, inos } = halfMoved(name);
    expect(one.ino(name)).toBe(inos[0]);
    expect(one.read(`${name}/file`)).toBe('text');
    expect(one.list('/')).toEqual(['a', 'b', ...[name.slice(1)], ...(name === '/new' ? ['empty'] : [])].sort());
    expect(one.fs.getattr(inos[1] as number, one.out)).toBe(0);
    expect(one.out.nlink).toBe(0);
  });
});

describe('beside a copy of data', () => {
  test('a file that is opened for writing is replaced by a rename, and stays', () => {
    const one = layered({ settings: { metacopy: false } });
    const [moved, replaced] = [one.ino('/a/f'), one.ino('/a/g')];
    const { read } = one.image;
    let isFirst = true;
    Object.assign(one.image, {
      read: (...given: Parameters<typeof read>) => {
        if (isFirst) {
          isFirst = false;
          const opened = one.fs.open(replaced, 1, false);
          if (!isErrno(opened)) closeSync(opened.fd);
          expect(one.fs.write(replaced, 0, Buffer.from('written'), false)).toBe(7);
        }
        return read.apply(one.image, given);
      },
    });
    one.rename('/a/f', '/a/g');
    expect(one.ino('/a/g')).toBe(moved);
    expect(one.fs.getattr(replaced, one.out)).toBe(0);
    expect(one.out.nlink).toBe(0);
    const into = Buffer.alloc(7);
    expect(one.fs.read(replaced, 0, into)).toBe(7);
    expect(into.toString()).toBe('written');
  });
});

test('the attributes of a removed directory of the image can be changed', () => {
  const one = layered();
  const ino = one.ino('/empty');
  one.rmdir('/empty');
  one.fs.openTable.find(ino);
  expect(one.fs.setattr(ino, { mode: 0o700, killPrivileges: false }, writer(), one.out)).toBe(0);
  expect(one.fs.readdir(ino, 0, false, one.out, () => true)).toBe(0);
});

test('a link that the killed server had in the work directory is not counted', () => {
  const one = layered();
  const ino = one.write('/a/new', 'new');
  linkSync(upper(one, '/a/new'), join(one.dir, 'w/work/#0'));
  one.fs.resume();
  expect(one.stat('/a/new')).toMatchObject({ ino, nlink: 1 });
});

test('a file that was to be replaced has no name among the orphans if it was not', () => {
  const one = layered();
  const ino = one.write('/a/new', 'new');
  linkSync(upper(one, '/a/new'), join(one.dir, 'w/cfs/orphans', Buffer.from(orphanName(ino)).toString()));
  expect(one.stat('/a/new').nlink).toBe(2);
  one.fs.resume();
  expect(one.stat('/a/new')).toMatchObject({ ino, nlink: 1 });
});

test('what is not made, because the table is full, has no name', () => {
  const table = IdentityTable.create(new SharedArrayBuffer(tableBytes(2)), 2, new Uint8Array(32));
  const dir = at('full');
  const one = layered({}, dir, table);
  const name = Buffer.from('new');
  for (let left = table.capacity - table.count; left > 0; left--) one.mkdir(`/${left}`);
  const made = readdirSync(join(dir, 'u'));
  expect(one.fs.mkdir(1, name, 0o755, writer(), one.out)).toBe(ENOSPC);
  expect(one.fs.create(1, name, 0o644, 1, writer(), one.out)).toBe(ENOSPC);
  expect(readdirSync(join(dir, 'u'))).toEqual(made);
});
