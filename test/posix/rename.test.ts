/** rename(2) and renameat2(2). */
import {
  existsSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { expect } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import * as calls from './calls.ts';
import {
  type Case,
  casesOf,
  describeCases,
  fails,
  makeAny,
  makeDirectory,
  makeFile,
  ok,
  readAt,
  TYPES,
  tick,
} from './cases.ts';
import { ALICE, as, BOB, type User } from './users.ts';

const scratch = useScratch();
const { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } = calls;

const identity = (path: string) => {
  const { ino, mode, uid, gid, size } = lstatSync(path);
  return { ino, mode, uid, gid, ...(lstatSync(path).isDirectory() ? {} : { size }) };
};
const ctimeOf = (path: string): bigint => lstatSync(path, { bigint: true }).ctimeNs;

/** A directory tree with files that could be lost. */
function makeTree(name: string): void {
  mkdirSync(`${name}/sub/deep`, { recursive: true });
  for (const path of ['file', 'sub/file', 'sub/deep/file']) writeFileSync(`${name}/${path}`, `${name} ${path}`);
  ok(calls.link(`${name}/file`, `${name}/sub/linked`));
}

function expectTree(at: string, name: string): void {
  expect(readdirSync(at).sort()).toEqual(['file', 'sub']);
  expect(readdirSync(`${at}/sub`).sort()).toEqual(['deep', 'file', 'linked']);
  for (const path of ['file', 'sub/file', 'sub/deep/file']) {
    expect(readFileSync(`${at}/${path}`, 'utf8')).toBe(`${name} ${path}`);
  }
  expect(lstatSync(`${at}/sub/linked`).ino).toBe(lstatSync(`${at}/file`).ino);
}

/** The kernel's answer when `from` is renamed to an existing name of another type. */
function expected(from: string, to: string): string {
  if (from === 'directory') return to === 'directory' ? 'ok' : 'ENOTDIR';
  return to === 'directory' ? 'EISDIR' : 'ok';
}

const moving: readonly Case[] = [
  ...casesOf(TYPES, (type) => ({
    name: `of a ${type}: the same inode, within its directory and to another`,
    arrange: () => {
      makeAny(type, 'it', { owner: ALICE });
      makeDirectory('other');
    },
    act: () => {
      const before = identity('it');
      const ctime = ctimeOf('it');
      const directory = ctimeOf('other');
      tick();
      ok(calls.rename('it', 'renamed'));
      expect(identity('renamed')).toEqual(before);
      fails(calls.rename('it', 'renamed'), 'ENOENT');
      ok(calls.rename('renamed', 'other/moved'));
      expect(identity('other/moved')).toEqual(before);
      expect(ctimeOf('other/moved')).not.toBe(ctime);
      expect(ctimeOf('other')).not.toBe(directory);
      expect(readdirSync('.')).toEqual(['other']);
      ok(calls.rename('other/moved', 'it'));
      expect(identity('it')).toEqual(before);
    },
  })),
  ...casesOf(TYPES, (from) => ({
    name: `of a ${from} to the name of anything else`,
    arrange: () => {
      for (const to of TYPES) {
        makeAny(from, `from ${to}`);
        makeAny(to, `to ${to}`, { owner: BOB });
      }
    },
    act: () => {
      for (const to of TYPES) {
        const [source, target] = [identity(`from ${to}`), identity(`to ${to}`)];
        const result = calls.nameOf(calls.rename(`from ${to}`, `to ${to}`));
        expect([to, result]).toEqual([to, expected(from, to)]);
        expect(identity(`to ${to}`)).toEqual(result === 'ok' ? source : target);
        expect(existsSync(`from ${to}`) || readdirSync('.').includes(`from ${to}`)).toBe(result !== 'ok');
      }
    },
  })),
  {
    name: 'of a directory with all that is in it, again and again',
    arrange: () => {
      makeTree('tree');
      makeDirectory('other');
    },
    act: () => {
      for (const [from, to] of [
        ['tree', 'renamed'],
        ['renamed', 'other/moved'],
        ['other/moved', 'tree'],
      ] as const) {
        ok(calls.rename(from, to));
        expectTree(to, 'tree');
      }
      ok(calls.rename('tree/sub', 'sub'));
      ok(calls.rename('sub', 'other/sub'));
      ok(calls.rename('tree', 'other/sub/deep/tree'));
      ok(calls.rename('other/sub', 'sub'));
      expect(readdirSync('sub/deep').sort()).toEqual(['file', 'tree']);
      expect(readFileSync('sub/deep/tree/file', 'utf8')).toBe('tree file');
      ok(calls.mkdir('tree', 0o755));
      expect(readdirSync('tree')).toEqual([]);
    },
  },
  {
    name: 'to the name of an empty directory; ENOTEMPTY if it is not',
    arrange: () => {
      makeTree('tree');
      makeTree('full');
      makeDirectory('empty');
      makeDirectory('emptied');
      makeFile('emptied/file');
    },
    act: () => {
      fails(calls.rename('tree', 'full'), 'ENOTEMPTY');
      fails(calls.rename('tree', 'emptied'), 'ENOTEMPTY');
      ok(calls.unlink('emptied/file'));
      ok(calls.rename('tree', 'emptied'));
      expectTree('emptied', 'tree');
      ok(calls.rename('full', 'empty'));
      expectTree('empty', 'full');
      expect(readdirSync('.').sort()).toEqual(['emptied', 'empty']);
    },
  },
  {
    name: 'EINVAL into itself, and for "." and ".." EBUSY',
    arrange: () => makeTree('tree'),
    act: () => {
      fails(calls.rename('tree', 'tree/new'), 'EINVAL');
      fails(calls.rename('tree', 'tree/sub/new'), 'EINVAL');
      fails(calls.rename('tree/sub', 'tree'), 'ENOTEMPTY');
      fails(calls.rename('tree/.', 'new'), 'EBUSY');
      fails(calls.rename('tree/..', 'new'), 'EBUSY');
      fails(calls.rename('tree', '.'), 'EBUSY');
      ok(calls.rename('tree', 'tree'));
      expectTree('tree', 'tree');
    },
  },
  {
    name: 'between two names of one file does nothing',
    arrange: () => {
      makeFile('one');
      ok(calls.link('one', 'two'));
      makeDirectory('dir');
      ok(calls.link('one', 'dir/three'));
    },
    act: () => {
      const before = ctimeOf('one');
      tick();
      ok(calls.rename('one', 'two'));
      ok(calls.rename('two', 'dir/three'));
      expect(readdirSync('.').sort()).toEqual(['dir', 'one', 'two']);
      expect(lstatSync('one').nlink).toBe(3);
      expect(ctimeOf('one')).toBe(before);
    },
  },
  {
    name: 'over a file that is open: it goes on without a name',
    arrange: () => {
      makeFile('new', { content: 'new' });
      makeFile('old', { content: 'old' });
      makeFile('linked', { content: 'linked' });
      ok(calls.link('linked', 'more'));
    },
    act: () => {
      const fd = ok(calls.open('old', calls.O_RDWR));
      ok(calls.rename('new', 'old'));
      expect(readAt(fd, 10, 0).toString()).toBe('old');
      expect(calls.pwrite(fd, Buffer.from('O'), 0)).toBe(1);
      expect(fstatSync(fd).nlink).toBe(0);
      expect(readFileSync('old', 'utf8')).toBe('new');
      ok(calls.close(fd));
      ok(calls.rename('old', 'linked'));
      expect(lstatSync('more').nlink).toBe(1);
      expect(readFileSync('more', 'utf8')).toBe('linked');
    },
  },
  {
    name: 'of a file that is open: the descriptor follows',
    arrange: () => {
      makeFile('file');
      makeDirectory('dir');
    },
    act: () => {
      const fd = ok(calls.open('file', calls.O_RDWR));
      ok(calls.rename('file', 'dir/renamed'));
      expect(calls.pwrite(fd, Buffer.from('C'), 0)).toBe(1);
      expect(readFileSync('dir/renamed', 'utf8')).toBe('Content');
      expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(`${process.cwd()}/dir/renamed`);
      ok(calls.close(fd));
    },
  },
  {
    name: 'names a file after one that was removed, and the other way round',
    arrange: () => {
      for (const name of ['file', 'gone']) makeFile(name, { content: name });
      makeTree('tree');
      makeTree('removed');
    },
    act: () => {
      ok(calls.unlink('gone'));
      ok(calls.rename('file', 'gone'));
      ok(calls.rename('gone', 'file'));
      expect(readFileSync('file', 'utf8')).toBe('file');
      fails(calls.open('gone', calls.O_RDONLY), 'ENOENT');
      for (const name of ['file', 'sub/file', 'sub/linked', 'sub/deep/file']) ok(calls.unlink(`removed/${name}`));
      for (const name of ['/sub/deep', '/sub', '']) ok(calls.rmdir(`removed${name}`));
      ok(calls.rename('tree', 'removed'));
      expectTree('removed', 'tree');
    },
  },
];

const flags: readonly Case[] = [
  ...casesOf(TYPES, (to) => ({
    name: `RENAME_NOREPLACE: EEXIST if there is a ${to}`,
    arrange: () => {
      makeFile('file');
      makeDirectory('dir');
      makeAny(to, 'it');
    },
    act: () => {
      for (const from of ['file', 'dir']) {
        fails(calls.rename(from, 'it', RENAME_NOREPLACE), 'EEXIST');
        ok(calls.rename(from, `new ${from}`, RENAME_NOREPLACE));
      }
    },
  })),
  ...casesOf(TYPES, (type) => ({
    name: `RENAME_EXCHANGE of a ${type} with anything else`,
    arrange: () => {
      makeDirectory('dir');
      makeAny(type, 'it');
      for (const other of TYPES) makeAny(other, `dir/${other}`);
    },
    act: () => {
      for (const other of TYPES) {
        const [one, two] = [identity('it'), identity(`dir/${other}`)];
        ok(calls.rename('it', `dir/${other}`, RENAME_EXCHANGE));
        expect([identity(`dir/${other}`), identity('it')]).toEqual([one, two]);
        ok(calls.rename('it', `dir/${other}`, RENAME_EXCHANGE));
        expect([identity('it'), identity(`dir/${other}`)]).toEqual([one, two]);
      }
      fails(calls.rename('it', 'missing', RENAME_EXCHANGE), 'ENOENT');
      fails(calls.rename('missing', 'it', RENAME_EXCHANGE), 'ENOENT');
    },
  })),
  {
    name: 'RENAME_EXCHANGE of directories with all that is in them; EINVAL with what is inside',
    arrange: () => {
      makeTree('one');
      makeTree('two');
    },
    act: () => {
      ok(calls.rename('one', 'two', RENAME_EXCHANGE));
      expectTree('two', 'one');
      expectTree('one', 'two');
      fails(calls.rename('one', 'one/sub/deep', RENAME_EXCHANGE), 'EINVAL');
      ok(calls.rename('one', 'two/sub', RENAME_EXCHANGE));
      expectTree('two/sub', 'two');
      expect(readdirSync('one').sort()).toEqual(['deep', 'file', 'linked']);
    },
  },
  {
    name: 'EINVAL for flags that exclude each other, or are not known',
    arrange: () => {
      makeFile('one');
      makeFile('two');
    },
    act: () => {
      fails(calls.rename('one', 'two', RENAME_NOREPLACE | RENAME_EXCHANGE), 'EINVAL');
      fails(calls.rename('one', 'two', RENAME_EXCHANGE | RENAME_WHITEOUT), 'EINVAL');
      fails(calls.rename('one', 'new', 8), 'EINVAL');
    },
  },
];

/** Owners of a sticky directory and of a file in it, and whether Alice may remove the file. */
const STICKY: readonly (readonly [directory: User, file: User, mayAlice: boolean])[] = [
  [ALICE, BOB, true],
  [BOB, ALICE, true],
  [BOB, BOB, false],
];

const stickyCases: readonly Case[] = TYPES.flatMap((type) =>
  STICKY.map(([directory, owner, may]) => ({
    name: `${directory.uid === ALICE.uid ? 'her own' : "another's"}, with a ${type} of ${owner.uid === ALICE.uid ? 'hers' : "another's"}`,
    arrange: () => {
      makeDirectory('sticky', { mode: 0o1777, owner: directory });
      makeDirectory('dir', { mode: 0o777, owner: ALICE });
      for (const name of ['sticky/removed', 'sticky/moved', 'sticky/replaced']) makeAny(type, name, { owner });
      makeAny(type, 'dir/new', { owner: ALICE });
      if (type === 'directory')
        for (const name of ['removed', 'moved', 'replaced']) ok(calls.chmod(`sticky/${name}`, 0o777));
    },
    act: () => {
      const remove = type === 'directory' ? calls.rmdir : calls.unlink;
      as(ALICE, () => {
        const results = [
          calls.rename('sticky/moved', 'dir/moved'),
          calls.rename('dir/new', 'sticky/replaced'),
          remove('sticky/removed'),
        ].map(calls.nameOf);
        expect(results).toEqual(may ? ['ok', 'ok', 'ok'] : ['EPERM', 'EPERM', 'EPERM']);
      });
    },
  })),
);

describeCases(scratch, {
  rename: moving,
  renameat2: flags,
  'sticky directories': stickyCases,
});
