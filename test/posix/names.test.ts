/** Making and removing names: mkdir, mknod, symlink, link, unlink, rmdir. */
import { fstatSync, lstatSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync } from 'node:fs';
import { expect } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { makeDevice } from '../support/libc.ts';
import * as calls from './calls.ts';
import {
  type Case,
  casesOf,
  describeCases,
  fails,
  makeAny,
  makeDirectory,
  makeFile,
  modeOf,
  ok,
  readAt,
  TYPES,
  tick,
} from './cases.ts';
import { ALICE, as, BOB, CAROL, withUmask } from './users.ts';

const scratch = useScratch();

const times = (path: string): { mtime: bigint; ctime: bigint } => {
  const { mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
  return { mtime: mtimeNs, ctime: ctimeNs };
};

/** Expects that `call` sets the times of the directory, or leaves them if it fails. */
function expectDirectoryChanges(directory: string, changes: boolean, call: () => void): void {
  const before = times(directory);
  tick();
  call();
  const after = times(directory);
  expect([after.mtime > before.mtime, after.ctime !== before.ctime]).toEqual([changes, changes]);
}

/** Calls that make a file of a type. */
const MAKERS: Readonly<Record<string, (path: string) => number>> = {
  mkdir: (path) => calls.mkdir(path, 0o777),
  mkfifo: (path) => calls.mkfifo(path, 0o777),
  'mknod of a file': (path) => calls.mknod(path, calls.S_IFREG | 0o777),
  'mknod of a socket': (path) => calls.mknod(path, calls.S_IFSOCK | 0o777),
  symlink: (path) => calls.symlink('target', path),
};

const makerCases: readonly Case[] = Object.entries(MAKERS).flatMap(([name, make]) => [
  {
    name: `${name}: mode less the umask, owner, links and times`,
    arrange: () => makeDirectory('dir', { mode: 0o777 }),
    act: () => {
      const earliest = BigInt(Date.now() - 1000) * 1_000_000n;
      expectDirectoryChanges('dir', true, () => as(CAROL, () => withUmask(0o026, () => ok(make('dir/new')))));
      const { uid, gid, mtimeNs, ctimeNs, atimeNs } = lstatSync('dir/new', { bigint: true });
      expect([Number(uid), Number(gid)]).toEqual([CAROL.uid, CAROL.gid]);
      expect(modeOf('dir/new').toString(8)).toBe(name === 'symlink' ? '777' : '751');
      for (const time of [mtimeNs, ctimeNs, atimeNs]) expect(time).toBeGreaterThan(earliest);
      if (name !== 'mkdir') expect(lstatSync('dir/new').nlink).toBe(1);
    },
  },
  {
    name: `${name}: in a directory with the set-group-ID bit, its group`,
    arrange: () => makeDirectory('dir', { mode: 0o2777, owner: { ...BOB, gid: ALICE.gid } }),
    act: () => {
      as(CAROL, () => ok(make('dir/new')));
      expect([lstatSync('dir/new').uid, lstatSync('dir/new').gid]).toEqual([CAROL.uid, ALICE.gid]);
      expect(modeOf('dir/new') & 0o2000).toBe(name === 'mkdir' ? 0o2000 : 0);
    },
  },
  {
    name: `${name}: EEXIST for whatever is there`,
    arrange: () => {
      for (const type of TYPES) makeAny(type, type);
      makeDirectory('dir');
      symlinkSync('dir', 'to dir');
    },
    act: () =>
      expectDirectoryChanges('.', false, () => {
        for (const path of [...TYPES, 'dir', 'to dir', '.', 'dir/.', '..']) fails(make(path), 'EEXIST');
      }),
  },
  {
    name: `${name}: a name that was removed before`,
    arrange: () => {
      for (const type of TYPES) makeAny(type, type);
    },
    act: () => {
      for (const type of TYPES) {
        ok(type === 'directory' ? calls.rmdir(type) : calls.unlink(type));
        ok(make(type));
        if (name === 'mkdir') expect(readdirSync(type)).toEqual([]);
      }
    },
  },
]);

const makingCases: readonly Case[] = [
  ...makerCases,
  {
    name: 'devices: only for root; their number and type',
    arrange: () => makeDirectory('dir', { owner: ALICE }),
    act: () => {
      as(ALICE, () => {
        fails(calls.mknod('dir/c', calls.S_IFCHR | 0o600, makeDevice(1, 3)), 'EPERM');
        fails(calls.mknod('dir/b', calls.S_IFBLK | 0o600, makeDevice(7, 0)), 'EPERM');
      });
      for (const [type, major, minor] of [
        [calls.S_IFCHR, 1, 3],
        [calls.S_IFBLK, 4095, 0xfffff],
      ] as const) {
        ok(calls.mknod('device', type | 0o600, makeDevice(major, minor)));
        expect(lstatSync('device').rdev).toBe(makeDevice(major, minor));
        expect(lstatSync('device').mode & calls.S_IFMT).toBe(type);
        ok(calls.unlink('device'));
      }
    },
  },
  {
    name: 'mkdir with a slash at the end; ENOENT for a file with one',
    act: () => {
      ok(calls.mkdir('dir/', 0o755));
      fails(calls.mkfifo('fifo/', 0o644), 'ENOENT');
      fails(calls.symlink('target', 'link/'), 'ENOENT');
    },
  },
  {
    name: 'a symbolic link has any target up to 4095 bytes',
    act: () => {
      for (const [i, target] of ['x', '/absolute', '../..', 'ä'.repeat(50), 't'.repeat(4095)].entries()) {
        ok(calls.symlink(target, `link${i}`));
        expect(readlinkSync(`link${i}`)).toBe(target);
        expect(lstatSync(`link${i}`).size).toBe(Buffer.byteLength(target));
      }
      fails(calls.symlink('t'.repeat(4096), 'long'), 'ENAMETOOLONG');
      fails(calls.symlink('', 'empty'), 'ENOENT');
    },
  },
  {
    name: 'names are bytes',
    arrange: () => makeFile(Buffer.from('with \xff\n', 'latin1')),
    act: () => {
      ok(calls.mkdir(Buffer.from('\x01\x80', 'latin1'), 0o755));
      ok(calls.link(Buffer.from('with \xff\n', 'latin1'), Buffer.from('\xe9', 'latin1')));
      const names = readdirSync('.', { encoding: 'buffer' }).map((name) => name.toString('latin1'));
      expect(names.sort()).toEqual(['\x01\x80', 'with \xff\n', '\xe9'].sort());
    },
  },
  {
    name: 'paths that are longer than PATH_MAX, step by step',
    act: () => {
      const name = 'd'.repeat(200);
      const top = process.cwd();
      for (let depth = 0; depth < 25; depth++) {
        ok(calls.mkdir(name, 0o755));
        process.chdir(name);
      }
      makeFile('file');
      ok(calls.rename('file', 'renamed'));
      ok(calls.link('renamed', 'linked'));
      ok(calls.symlink('linked', 'link'));
      expect(readFileSync('link', 'utf8')).toBe('content');
      expect(readdirSync('.').sort()).toEqual(['link', 'linked', 'renamed']);
      for (const path of ['link', 'linked', 'renamed']) ok(calls.unlink(path));
      for (let depth = 0; depth < 25; depth++) {
        process.chdir('..');
        ok(calls.rmdir(name));
      }
      expect(process.cwd()).toBe(top);
    },
  },
];

const LINKABLE = TYPES.filter((type) => type !== 'directory');

const linkCases: readonly Case[] = [
  ...casesOf(LINKABLE, (type) => ({
    name: `gives a ${type} another name: counts, ctime, one inode`,
    arrange: () => makeAny(type, 'one'),
    act: () => {
      const before = times('one');
      expectDirectoryChanges('.', true, () => ok(calls.link('one', 'two')));
      expect(times('one').ctime).not.toBe(before.ctime);
      expect(lstatSync('two')).toMatchObject({ nlink: 2, ino: lstatSync('one').ino });
      ok(calls.link('two', 'three'));
      expect(lstatSync('one').nlink).toBe(3);
      ok(calls.lchown('three', 11, 12));
      expect(lstatSync('one')).toMatchObject({ uid: 11, gid: 12 });
      ok(calls.unlink('one'));
      expect(lstatSync('three').nlink).toBe(2);
      ok(calls.unlink('three'));
      ok(calls.unlink('two'));
      expect(readdirSync('.')).toEqual([]);
    },
  })),
  {
    name: 'what is written through one name is read through the other',
    arrange: () => {
      makeFile('one');
      ok(calls.link('one', 'two'));
    },
    act: () => {
      const [writer, reader] = [ok(calls.open('two', calls.O_RDWR)), ok(calls.open('one', calls.O_RDWR))];
      expect(calls.pwrite(writer, Buffer.from('C'), 0)).toBe(1);
      expect(readAt(reader, 10, 0).toString()).toBe('Content');
      expect(readFileSync('one', 'utf8')).toBe('Content');
      for (const fd of [writer, reader]) ok(calls.close(fd));
    },
  },
  {
    name: 'EEXIST for whatever is there, EPERM for a directory',
    arrange: () => {
      for (const type of TYPES) makeAny(type, type);
      makeFile('one');
    },
    act: () => {
      for (const type of TYPES) fails(calls.link('one', type), 'EEXIST');
      fails(calls.link('directory', 'new'), 'EPERM');
      expect(lstatSync('one').nlink).toBe(1);
    },
  },
  {
    name: 'of a symbolic link itself, or of its target',
    arrange: () => {
      makeFile('one');
      symlinkSync('one', 'link');
    },
    act: () => {
      ok(calls.link('link', 'new link'));
      expect(readlinkSync('new link')).toBe('one');
      ok(calls.link('link', 'two', calls.AT_SYMLINK_FOLLOW));
      expect(lstatSync('two').ino).toBe(lstatSync('one').ino);
    },
  },
  {
    name: 'EXDEV to another file system',
    arrange: () => makeFile('one'),
    act: () => {
      fails(calls.link('one', '/dev/shm/cfs-test-link'), 'EXDEV');
      fails(calls.rename('one', '/dev/shm/cfs-test-link'), 'EXDEV');
      fails(calls.link('/proc/self/status', 'new'), 'EXDEV');
    },
  },
];

const removingCases: readonly Case[] = [
  ...casesOf(LINKABLE, (type) => ({
    name: `unlink removes a ${type}`,
    arrange: () => makeAny(type, 'it'),
    act: () => {
      expectDirectoryChanges('.', true, () => ok(calls.unlink('it')));
      fails(calls.unlink('it'), 'ENOENT');
      expect(readdirSync('.')).toEqual([]);
    },
  })),
  {
    name: 'unlink of one name changes the ctime of the others',
    arrange: () => {
      makeFile('one');
      ok(calls.link('one', 'two'));
    },
    act: () => {
      const before = times('two');
      tick();
      ok(calls.unlink('one'));
      expect(times('two').ctime).not.toBe(before.ctime);
      expect(times('two').mtime).toBe(before.mtime);
    },
  },
  {
    name: 'unlink: EISDIR for a directory; rmdir: ENOTDIR for all others',
    arrange: () => {
      for (const type of TYPES) makeAny(type, type);
    },
    act: () => {
      fails(calls.unlink('directory'), 'EISDIR');
      for (const type of LINKABLE) fails(calls.rmdir(type), 'ENOTDIR');
      ok(calls.rmdir('directory'));
    },
  },
  {
    name: 'rmdir: ENOTEMPTY while anything is in it; EINVAL for "."',
    arrange: () => {
      for (const type of TYPES) {
        makeDirectory(`with ${type}`);
        makeAny(type, `with ${type}/it`);
      }
    },
    act: () => {
      for (const type of TYPES) {
        fails(calls.rmdir(`with ${type}`), 'ENOTEMPTY');
        fails(calls.rmdir(`with ${type}/.`), 'EINVAL');
        fails(
          calls.rmdir(`with ${type}/it/..`),
          type === 'directory' ? 'ENOTEMPTY' : type === 'symlink' ? 'ENOENT' : 'ENOTDIR',
        );
        ok(type === 'directory' ? calls.rmdir(`with ${type}/it`) : calls.unlink(`with ${type}/it`));
        expectDirectoryChanges('.', true, () => ok(calls.rmdir(`with ${type}`)));
      }
    },
  },
  {
    name: 'rmdir of what is open, or a working directory: nothing can be made in it, nothing is in it',
    arrange: () => makeDirectory('dir'),
    act: (site) => {
      const fd = ok(calls.open('dir', calls.O_RDONLY | calls.O_DIRECTORY));
      const top = process.cwd();
      process.chdir('dir');
      ok(calls.rmdir('../dir'));
      fails(calls.mkdir('new', 0o755), 'ENOENT');
      fails(calls.open('new', calls.O_CREAT | calls.O_RDWR, 0o644), 'ENOENT');
      // overlayfs asks the lower directory, which is still there
      if (site !== 'overlayfs') expect(fstatSync(fd).nlink).toBe(0);
      expect(statSync('.').isDirectory()).toBe(true);
      process.chdir(top);
      ok(calls.close(fd));
      ok(calls.mkdir('dir', 0o755));
    },
  },
];

describeCases(scratch, {
  making: makingCases,
  link: linkCases,
  'unlink and rmdir': removingCases,
});
