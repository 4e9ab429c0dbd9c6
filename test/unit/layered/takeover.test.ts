/** What a server finds that was killed between two steps, and requests that come twice. */
import { closeSync, fstatSync, mkdirSync, readdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { errnoName, isErrno } from '../../../src/base/errno.ts';
import { directory, file, treeOf } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { LayeredTree, type LayerOptions, writer } from './layered-fixture.ts';

const at = useScratch();
const paths = {
  '/a': directory,
  '/a/f': file('content of f'),
  '/a/h': file('content of h'),
  '/b': directory,
  '/b/h': '/a/h',
  '/empty': directory,
};
const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const tree = treeOf(
  paths,
  Object.fromEntries(
    Object.entries({ '/': directory, ...paths }).map(([path, body]) => [
      path,
      { ...own, mode: body === directory ? 0o755 : 0o644 },
    ]),
  ),
);

type Layered = LayeredTree & { readonly dir: string };
let count = 0;
const open: LayeredTree[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

function layered(options?: LayerOptions, dir = at(`layer-${++count}`)): Layered {
  const made = new LayeredTree(tree, dir, options);
  open.push(made);
  return Object.assign(made, { dir });
}

/** The same upper layer with another table. */
function withoutTable(before: Layered, options?: LayerOptions): Layered {
  before.close();
  open.splice(open.indexOf(before), 1);
  return layered(options, before.dir);
}

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
