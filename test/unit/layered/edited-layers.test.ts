/**
 * Upper directories that users have changed between two mounts: with the table of the last one, and without it, no two
 * files have one id, each name shows its own file, and a handle leads to the file that it was made for, or nowhere.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { S_IFDIR, S_IFMT, S_IFREG } from '../../../src/base/stat-bits.ts';
import { encodeIdentity } from '../../../src/layered/layer-xattrs.ts';
import { closeFd, openAt } from '../../../src/system/descriptors.ts';
import { AT_FDCWD } from '../../../src/system/libc.ts';
import { setXattrAt } from '../../../src/system/xattr-calls.ts';
import { isRoot } from '../../support/root.ts';
import { directory, file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { type Layered, type LayeredTree, ownTree, useLayers, writer } from './layered-fixture.ts';

const at = useScratch();
const tree = ownTree({
  '/a': directory,
  '/a/f': file('f of the image'),
  '/a/g': file('g of the image'),
  '/a/h': file('h of the image'),
  '/b': directory,
  '/b/h': '/a/h',
  '/d': directory,
  '/d/below': file('below of the image'),
});
const { layered } = useLayers(tree, at);

const PREFIX = isRoot ? 'trusted' : 'user';
const byHandle = (one: LayeredTree, ino: number): boolean => one.fs.lookup(ino, Buffer.from('.'), one.out) === 0;
/** All that a user may copy. */
const copy = (from: string, to: string): unknown => execFileSync('cp', ['-a', '--preserve=all', from, to]);

function setXattr(path: string, name: string, value: Uint8Array): void {
  const fd = openAt(AT_FDCWD, Buffer.from(path), 0);
  expect(setXattrAt(fd, Uint8Array.of(), Buffer.from(`${PREFIX}.${name}`), value, 0)).toBe(0);
  closeFd(fd);
}

interface Seen {
  readonly ino: number;
  readonly text: string;
}

/** Each path with its inode number, and the content of a regular file. */
function look(one: LayeredTree): Map<string, Seen> {
  const seen = new Map<string, Seen>();
  const visit = (path: string): void => {
    const { ino, mode } = one.stat(path || '/');
    const text = (mode & S_IFMT) === S_IFREG ? one.read(path) : '';
    seen.set(path, { ino, text });
    if ((mode & S_IFMT) === S_IFDIR) for (const name of one.list(path || '/', 100)) visit(`${path}/${name}`);
  };
  visit('');
  return seen;
}

const texts = (seen: ReadonlyMap<string, Seen>): Record<string, string> =>
  Object.fromEntries([...seen].filter(([, { text }]) => text !== '').map(([path, { text }]) => [path, text]));

/** The paths by inode number, those of one inode together. */
function links(seen: ReadonlyMap<string, Seen>): string[] {
  const paths = new Map<number, string[]>();
  for (const [path, { ino }] of seen) paths.set(ino, [...(paths.get(ino) ?? []), path]);
  return [...paths.values()].map((all) => all.join(' ')).filter((all) => all.includes(' '));
}

interface Edit {
  /** In the first mount. */
  readonly prepare: (one: LayeredTree) => void;
  /** In the upper directory, between the mounts. */
  readonly edit: (upper: string, one: Layered) => void;
  /** The contents that differ from those of before, by their paths; undefined: there is none. */
  readonly texts: Readonly<Record<string, string | undefined>>;
  /** The path of before with the inode number that a path has now. */
  readonly inos?: Readonly<Record<string, string>>;
  /** Paths whose inode number no file had. */
  readonly fresh?: readonly string[];
  /** Paths of before whose handles lead nowhere; with a table, or always. */
  readonly stale?: readonly string[];
}

/** Makes the table believe that the file `path` has the inode number of a file that was removed, as ext4 gives it. */
function reuse({ table }: LayeredTree, ino: number, path: string): void {
  table.setUpper(table.find(ino), lstatSync(path).ino, 0);
}

const EDITS: Readonly<Record<string, Edit>> = {
  nothing: {
    prepare: (one) => void one.write('/a/new', 'new'),
    edit: () => undefined,
    texts: {},
    inos: { '/a/new': '/a/new' },
  },
  'a new file is copied with its xattrs': {
    prepare: (one) => void one.write('/a/new', 'new'),
    edit: (upper) => copy(join(upper, 'a/new'), join(upper, 'a/b-copy')),
    texts: { '/a/b-copy': 'new' },
  },
  'a changed file is copied with its xattrs': {
    prepare: (one) => one.overwrite('/a/f', 'F'),
    edit: (upper) => copy(join(upper, 'a/f'), join(upper, 'a/b-copy')),
    texts: { '/a/b-copy': 'F of the image' },
    inos: { '/a/f': '/a/f' },
    fresh: ['/a/b-copy'],
  },
  'a link of the image is copied with its xattrs': {
    prepare: (one) => {
      one.overwrite('/a/h', 'H');
      one.unlink('/b/h');
      one.link('/a/h', '/b/other');
    },
    edit: (upper) => copy(join(upper, 'b/other'), join(upper, 'b/0-copy')),
    texts: { '/b/0-copy': 'H of the image' },
    inos: { '/a/h': '/a/h', '/b/other': '/a/h' },
    fresh: ['/b/0-copy'],
  },
  'a directory is copied with its xattrs': {
    prepare: (one) => {
      one.overwrite('/d/below', 'BELOW');
      one.mkdir('/d/made');
    },
    edit: (upper) => copy(join(upper, 'd'), join(upper, 'c-copy')),
    texts: { '/c-copy/below': 'BELOW of the image' },
    inos: { '/d': '/d', '/d/below': '/d/below' },
    fresh: ['/c-copy', '/c-copy/below'],
  },
  'a new file is moved': {
    prepare: (one) => void one.write('/a/new', 'new'),
    edit: (upper) => renameSync(join(upper, 'a/new'), join(upper, 'moved')),
    texts: { '/a/new': undefined, '/moved': 'new' },
    inos: { '/moved': '/a/new' },
  },
  'a changed file is moved, so that the image is seen again': {
    prepare: (one) => one.overwrite('/a/f', 'F'),
    edit: (upper) => renameSync(join(upper, 'a/f'), join(upper, 'a/0-moved')),
    texts: { '/a/f': 'f of the image', '/a/0-moved': 'F of the image' },
    inos: { '/a/f': '/a/f' },
    fresh: ['/a/0-moved'],
  },
  'a changed file is moved to another directory': {
    prepare: (one) => one.overwrite('/a/f', 'F'),
    edit: (upper) => renameSync(join(upper, 'a/f'), join(upper, '0-moved')),
    texts: { '/a/f': 'f of the image', '/0-moved': 'F of the image' },
    inos: { '/a/f': '/a/f' },
    fresh: ['/0-moved'],
  },
  'a merged directory is moved': {
    prepare: (one) => {
      one.overwrite('/d/below', 'BELOW');
      one.write('/d/new', 'new');
    },
    edit: (upper) => renameSync(join(upper, 'd'), join(upper, 'c-moved')),
    texts: {
      '/d/below': 'below of the image',
      '/d/new': undefined,
      '/c-moved/below': 'BELOW of the image',
      '/c-moved/new': 'new',
    },
    inos: { '/d': '/d', '/d/below': '/d/below', '/c-moved/new': '/d/new' },
    fresh: ['/c-moved', '/c-moved/below'],
  },
  'two changed files change their places': {
    prepare: (one) => {
      one.overwrite('/a/f', 'F');
      one.overwrite('/a/g', 'G');
    },
    edit: (upper) => {
      renameSync(join(upper, 'a/f'), join(upper, 'a/t'));
      renameSync(join(upper, 'a/g'), join(upper, 'a/f'));
      renameSync(join(upper, 'a/t'), join(upper, 'a/g'));
    },
    texts: { '/a/f': 'G of the image', '/a/g': 'F of the image' },
    inos: { '/a/f': '/a/g', '/a/g': '/a/f' },
  },
  'a directory is moved into its own one': {
    prepare: (one) => {
      one.mkdir('/n');
      one.mkdir('/n/m');
      one.write('/n/m/x', 'x');
    },
    edit: (upper) => {
      renameSync(join(upper, 'n/m'), join(upper, 'm'));
      renameSync(join(upper, 'n'), join(upper, 'm/n'));
    },
    texts: { '/n/m/x': undefined, '/m/x': 'x' },
    inos: { '/m': '/n/m', '/m/n': '/n', '/m/x': '/n/m/x' },
  },
  'a new file is removed, and its inode number used again': {
    prepare: (one) => void one.write('/a/new', 'new'),
    edit: (upper, one) => {
      const ino = one.ino('/a/new');
      unlinkSync(join(upper, 'a/new'));
      writeFileSync(join(upper, 'a/other'), 'other');
      reuse(one, ino, join(upper, 'a/other'));
    },
    texts: { '/a/new': undefined, '/a/other': 'other' },
    fresh: ['/a/other'],
    stale: ['/a/new'],
  },
  'the same under the same name': {
    prepare: (one) => void one.write('/a/new', 'new'),
    edit: (upper, one) => {
      const ino = one.ino('/a/new');
      unlinkSync(join(upper, 'a/new'));
      writeFileSync(join(upper, 'a/new'), 'other');
      reuse(one, ino, join(upper, 'a/new'));
    },
    texts: { '/a/new': 'other' },
    fresh: ['/a/new'],
    stale: ['/a/new'],
  },
  'a changed file is removed, and its inode number used again': {
    prepare: (one) => one.overwrite('/a/f', 'F'),
    edit: (upper, one) => {
      const ino = one.ino('/a/f');
      unlinkSync(join(upper, 'a/f'));
      writeFileSync(join(upper, 'a/other'), 'other');
      reuse(one, ino, join(upper, 'a/other'));
    },
    texts: { '/a/f': 'f of the image', '/a/other': 'other' },
    inos: { '/a/f': '/a/f' },
    fresh: ['/a/other'],
  },
  'a directory is removed, and its inode number used again': {
    prepare: (one) => {
      one.mkdir('/n');
      one.write('/n/x', 'x');
    },
    edit: (upper, one) => {
      const ino = one.ino('/n');
      renameSync(join(upper, 'n/x'), join(upper, 'x'));
      rmdirSync(join(upper, 'n'));
      mkdirSync(join(upper, 'o'));
      writeFileSync(join(upper, 'o/x'), 'other');
      reuse(one, ino, join(upper, 'o'));
    },
    texts: { '/n/x': undefined, '/x': 'x', '/o/x': 'other' },
    inos: { '/x': '/n/x' },
    fresh: ['/o', '/o/x'],
    stale: ['/n'],
  },
  'inode numbers change, as in a copy that rsync makes': {
    prepare: (one) => {
      one.write('/a/new', 'new');
      one.overwrite('/a/f', 'F');
    },
    edit: (upper) => {
      for (const name of ['a/new', 'a/f']) {
        copy(join(upper, name), join(upper, 'copy'));
        renameSync(join(upper, 'copy'), join(upper, name));
      }
    },
    texts: {},
    inos: { '/a/new': '/a/new', '/a/f': '/a/f' },
  },
  'the same, and two numbers are exchanged': {
    prepare: (one) => {
      one.write('/a/new', 'new');
      one.write('/a/other', 'other');
    },
    edit: (upper, one) => {
      const [first, second] = [one.ino('/a/new'), one.ino('/a/other')];
      const [at, other] = ['a/new', 'a/other'].map((name) => lstatSync(join(upper, name)).ino) as [number, number];
      one.table.setUpper(one.table.find(first), 0, 0);
      one.table.setUpper(one.table.find(second), at, 0);
      one.table.setUpper(one.table.find(first), other, 0);
    },
    texts: {},
    inos: { '/a/new': '/a/new', '/a/other': '/a/other' },
  },
  'a file gets the content of another one, without its xattrs': {
    prepare: (one) => void one.write('/a/new', 'new'),
    edit: (upper) => {
      copyFileSync(join(upper, 'a/new'), join(upper, 'copy'));
      renameSync(join(upper, 'copy'), join(upper, 'a/new'));
    },
    texts: {},
    fresh: ['/a/new'],
    stale: ['/a/new'],
  },
  'a directory is made opaque': {
    prepare: (one) => void one.write('/d/new', 'new'),
    edit: (upper) => setXattr(join(upper, 'd'), 'overlay.opaque', Buffer.from('y')),
    texts: { '/d/below': undefined },
    inos: { '/d/new': '/d/new' },
  },
  'a file gets the id of one of the image': {
    prepare: (one) => void one.write('/a/new', 'new'),
    edit: (upper, one) =>
      setXattr(join(upper, 'a/new'), 'cfs.id', encodeIdentity({ id: one.ino('/a/f'), generation: 1 })),
    texts: {},
    inos: { '/a/f': '/a/f' },
    fresh: ['/a/new'],
    stale: ['/a/new'],
  },
};

/** Ids by their handles first, or by their names first. */
const ORDERS = ['names first', 'handles first'] as const;

describe.each(Object.keys(EDITS))('%s', (name) => {
  const { prepare, edit, ...expected } = EDITS[name] as Edit;

  test.each([true, false].flatMap((hasTable) => ORDERS.map((order) => [hasTable, order] as const)))(
    'with the table: %s, %s',
    (hasTable, order) => {
      const one = layered();
      prepare(one);
      const before = look(one);
      edit(join(one.dir, 'u'), one);
      one.close();
      const next = layered({}, one.dir, hasTable ? one.table : undefined);
      const handles = [...before].map(([path, { ino }]) => [path, ino] as const);
      if (order === 'handles first') for (const [, ino] of handles) byHandle(next, ino);
      const now = look(next);
      const { '': _root, ...changes } = { '': undefined, ...expected.texts };
      const contents: Record<string, string | undefined> = { ...texts(before), ...changes };
      for (const path of Object.keys(contents)) if (contents[path] === undefined) delete contents[path];
      expect(texts(now)).toEqual(contents);
      expect(links(now)).toEqual(links(now).filter((all) => isOneFile(join(next.dir, 'u'), all)));
      for (const [path, old] of Object.entries(expected.inos ?? {})) {
        expect(now.get(path)?.ino, path).toBe(before.get(old)?.ino);
      }
      const old = new Set([...before.values()].map(({ ino }) => ino));
      for (const path of expected.fresh ?? []) expect(old.has(now.get(path)?.ino as number), path).toBe(false);
      for (const [path, ino] of handles) {
        const found = byHandle(next, ino);
        expect(found, `the handle of ${path}`).toBe([...now.values()].some((seen) => seen.ino === ino));
        if (expected.stale?.includes(path)) expect(found, `the handle of ${path}`).toBe(false);
      }
      // ids stay what they are now
      next.close();
      expect([...look(layered({}, one.dir))]).toEqual([...now]);
    },
  );
});

/** Links whose names are partly those of the image alone. */
const LINKS: readonly string[] = ['/a/h /b/h', '/a/h /b/other'];

/** Whether these paths are hard links in the upper directory, or by the index. */
function isOneFile(upper: string, paths: string): boolean {
  const numbers = paths.split(' ').map((path) => statSync(join(upper, path), { throwIfNoEntry: false })?.ino);
  return new Set(numbers).size === 1 || LINKS.includes(paths);
}

test('what a user puts into an empty upper directory gets ids at once, and keeps them', () => {
  const first = layered();
  first.close();
  const upper = join(first.dir, 'u');
  mkdirSync(join(upper, 'a/c'), { recursive: true });
  writeFileSync(join(upper, 'a/c/x'), 'x');
  const one = layered({}, first.dir, first.table);
  const now = look(one);
  expect(links(now)).toEqual(['/a/h /b/h']);
  one.close();
  expect([...look(layered({}, first.dir))]).toEqual([...now]);
  expect(readdirSync(upper)).toEqual(['a']);
});

describe('a symbolic link of a layer with userxattr, whose id is in the table alone', () => {
  const options = { settings: { userxattr: true } };
  const linked = (): { one: Layered; ino: number; path: string } => {
    const one = layered(options);
    const made = one.at('/new', (parent, name) => one.fs.symlink(parent, name, Buffer.from('x'), writer(), one.out));
    expect(made).toBe(0);
    const { ino } = one.out;
    one.close();
    return { one, ino, path: join(one.dir, 'u/new') };
  };

  test('keeps it, also if it is moved', () => {
    const { one, ino, path } = linked();
    renameSync(path, join(one.dir, 'u/moved'));
    const next = layered(options, one.dir, one.table);
    expect(byHandle(next, ino)).toBe(true);
    expect(next.ino('/moved')).toBe(ino);
  });

  test('does not leave it to another link with its inode number', () => {
    const { one, ino, path } = linked();
    unlinkSync(path);
    symlinkSync('y', path);
    reuse(one, ino, path);
    const next = layered(options, one.dir, one.table);
    expect(byHandle(next, ino)).toBe(false);
    expect(next.ino('/new')).not.toBe(ino);
  });
});
