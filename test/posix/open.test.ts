/** open(2): the files that it makes, permissions, and the file that is opened. */
import { fstatSync, lstatSync, readFileSync, statSync, symlinkSync } from 'node:fs';
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
  modeOf,
  ok,
  readAt,
  TYPES,
  tick,
} from './cases.ts';
import { ALICE, as, BOB, CAROL, type User, withUmask } from './users.ts';

const scratch = useScratch();
const { O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_TMPFILE } = calls;
const { O_TRUNC, O_WRONLY } = calls;

const opens = (path: string, flags: number, mode = 0): void => {
  ok(calls.close(ok(calls.open(path, flags, mode))));
};
const refuses = (path: string, flags: number, error: string): void => fails(calls.open(path, flags, 0o644), error);

/** The user for which each group of mode bits counts. */
const CLASSES: readonly (readonly [name: string, user: User, shift: number])[] = [
  ['its owner', ALICE, 6],
  ['a member of its group', CAROL, 3],
  ['another', BOB, 0],
];

const openCases: readonly Case[] = [
  {
    name: 'makes a file with its mode less the umask, and the user that asks; the directory gets new times',
    arrange: () => makeDirectory('dir', { owner: ALICE }),
    act: () => {
      const before = lstatSync('dir', { bigint: true });
      tick();
      as(ALICE, () => withUmask(0o027, () => opens('dir/file', O_CREAT | O_WRONLY, 0o777)));
      const { uid, gid, size, nlink } = lstatSync('dir/file');
      expect({ uid, gid, size, nlink }).toEqual({ uid: ALICE.uid, gid: ALICE.gid, size: 0, nlink: 1 });
      expect(modeOf('dir/file').toString(8)).toBe('750');
      const after = lstatSync('dir', { bigint: true });
      expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs);
      expect(after.ctimeNs).not.toBe(before.ctimeNs);
    },
  },
  {
    name: 'writes to a file that it made without any permission',
    act: () => {
      const fd = ok(calls.open('file', O_CREAT | O_RDWR, 0));
      expect(calls.write(fd, Buffer.from('text'))).toBe(4);
      ok(calls.close(fd));
      expect(modeOf('file')).toBe(0);
      expect(readFileSync('file', 'utf8')).toBe('text');
    },
  },
  {
    name: 'opens what is there with O_CREAT: mode, owner and content stay',
    arrange: () => makeFile('file', { mode: 0o606, owner: BOB }),
    act: () => {
      opens('file', O_CREAT | O_RDWR, 0o777);
      expect([modeOf('file'), lstatSync('file').uid, readFileSync('file', 'utf8')]).toEqual([
        0o606,
        BOB.uid,
        'content',
      ]);
    },
  },
  {
    name: 'O_TRUNC empties, and sets mtime and ctime; without the right to write it does not',
    arrange: () => makeFile('file', { mode: 0o644 }),
    act: () => {
      as(BOB, () => refuses('file', O_WRONLY | O_TRUNC, 'EACCES'));
      expect(statSync('file').size).toBe(7);
      const before = statSync('file', { bigint: true });
      tick();
      opens('file', O_WRONLY | O_TRUNC);
      const after = statSync('file', { bigint: true });
      expect(after.size).toBe(0n);
      expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs);
      expect(after.ctimeNs).not.toBe(before.ctimeNs);
      expect(readFileSync('file', 'utf8')).toBe('');
    },
  },
  ...casesOf(CLASSES, ([name, user, shift]) => ({
    name: `the mode says what ${name} may`,
    arrange: () => {
      for (let bits = 0; bits < 8; bits++) {
        // all others have the opposite
        const others = ~bits & 7;
        const mode = [6, 3, 0].reduce((sum, at) => sum | ((at === shift ? bits : others) << at), 0);
        makeFile(`file${bits}`, { mode, owner: ALICE });
        makeDirectory(`dir${bits}`, { mode, owner: ALICE });
        ok(calls.chown(`file${bits}`, ALICE.uid, ALICE.gid));
      }
    },
    act: () => {
      for (let bits = 0; bits < 8; bits++) {
        as(user, () => {
          for (const [flags, needed] of [
            [O_RDONLY, 4],
            [O_WRONLY, 2],
            [O_RDWR, 6],
            [O_RDONLY | O_TRUNC, 6],
          ] as const) {
            if ((bits & needed) === needed) opens(`file${bits}`, flags);
            else if (flags !== (O_RDONLY | O_TRUNC) || (bits & 2) === 0) refuses(`file${bits}`, flags, 'EACCES');
          }
          if ((bits & 4) !== 0) opens(`dir${bits}`, O_RDONLY);
          else refuses(`dir${bits}`, O_RDONLY, 'EACCES');
          if ((bits & 3) === 3) opens(`dir${bits}/new`, O_CREAT | O_WRONLY, 0o600);
          else refuses(`dir${bits}/new`, O_CREAT | O_WRONLY, 'EACCES');
        });
      }
    },
  })),
  ...casesOf(TYPES, (type) => ({
    name: `EEXIST with O_CREAT and O_EXCL for a ${type}`,
    arrange: () => makeAny(type, 'it'),
    act: () => refuses('it', O_CREAT | O_EXCL | O_RDWR, 'EEXIST'),
  })),
  {
    name: 'EISDIR for writing to a directory, making one, emptying one',
    arrange: () => makeDirectory('dir'),
    act: () => {
      for (const flags of [O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_CREAT | O_RDONLY]) refuses('dir', flags, 'EISDIR');
      refuses('new/', O_CREAT | O_WRONLY, 'EISDIR');
    },
  },
  {
    name: 'O_DIRECTORY wants a directory, a path that ends with a slash too',
    arrange: () => {
      makeFile('file');
      makeDirectory('dir');
    },
    act: () => {
      refuses('file', O_RDONLY | O_DIRECTORY, 'ENOTDIR');
      refuses('file/', O_RDONLY, 'ENOTDIR');
      opens('dir', O_RDONLY | O_DIRECTORY);
    },
  },
  {
    name: 'O_NOFOLLOW and O_EXCL do not follow a symbolic link; O_CREAT makes its target',
    arrange: () => {
      makeFile('file');
      symlinkSync('file', 'link');
      symlinkSync('target', 'dangling');
    },
    act: () => {
      refuses('link', O_RDONLY | O_NOFOLLOW, 'ELOOP');
      refuses('dangling', O_CREAT | O_EXCL | O_RDWR, 'EEXIST');
      refuses('dangling', O_RDONLY, 'ENOENT');
      opens('link', O_RDWR);
      opens('dangling', O_CREAT | O_RDWR, 0o640);
      expect(modeOf('target')).toBe(0o640);
      const fd = ok(calls.open('link', O_PATH | O_NOFOLLOW));
      expect(fstatSync(fd).isSymbolicLink()).toBe(true);
      ok(calls.close(fd));
    },
  },
  {
    name: 'ENXIO for a socket, a FIFO that nothing reads, and a device without driver',
    arrange: () => {
      for (const type of ['fifo', 'socket', 'block device', 'character device']) makeAny(type, type);
    },
    act: () => {
      refuses('fifo', O_WRONLY | O_NONBLOCK, 'ENXIO');
      refuses('socket', O_RDONLY, 'ENXIO');
      refuses('block device', O_RDONLY, 'ENXIO');
      refuses('character device', O_RDONLY, 'ENXIO');
      opens('fifo', O_RDONLY | O_NONBLOCK);
    },
  },
  {
    name: "a FIFO carries bytes, and a device is the kernel's",
    arrange: () => {
      makeAny('fifo', 'fifo');
      ok(calls.mknod('zero', calls.S_IFCHR | 0o666, (1 << 8) | 5));
    },
    act: () => {
      const [reader, writer] = [ok(calls.open('fifo', O_RDONLY | O_NONBLOCK)), ok(calls.open('fifo', O_WRONLY))];
      expect(calls.write(writer, Buffer.from('through'))).toBe(7);
      expect(calls.read(reader, 100)?.toString()).toBe('through');
      for (const fd of [reader, writer]) ok(calls.close(fd));
      const zero = ok(calls.open('zero', O_RDWR));
      expect(calls.read(zero, 3)).toEqual(Buffer.alloc(3));
      ok(calls.close(zero));
    },
  },
  {
    name: 'O_APPEND writes at the end, whoever else writes',
    arrange: () => makeFile('file', { content: 'one.' }),
    act: () => {
      const [a, b] = [ok(calls.open('file', O_WRONLY | O_APPEND)), ok(calls.open('file', O_RDWR | O_APPEND))];
      for (const [fd, text] of [
        [a, 'two.'],
        [b, 'three.'],
        [a, 'four.'],
      ] as const) {
        expect(calls.write(fd, Buffer.from(text))).toBe(text.length);
      }
      expect(readFileSync('file', 'utf8')).toBe('one.two.three.four.');
      for (const fd of [a, b]) ok(calls.close(fd));
    },
  },
  {
    name: 'EBADF for writing to what is open to read, and the other way round',
    arrange: () => makeFile('file'),
    act: () => {
      const [reader, writer] = [ok(calls.open('file', O_RDONLY)), ok(calls.open('file', O_WRONLY))];
      fails(calls.write(reader, Buffer.from('x')), 'EBADF');
      expect(calls.read(writer, 1)).toBe(-9);
      fails(calls.ftruncate(reader, 1), 'EINVAL');
      fails(calls.fallocate(reader, 0, 0, 10), 'EBADF');
      for (const fd of [reader, writer]) ok(calls.close(fd));
    },
  },
  {
    name: 'O_TMPFILE: a file without a name, which gets one by linkat; with O_EXCL it gets none',
    arrange: () => makeDirectory('dir', { owner: ALICE, mode: 0o2755 }),
    act: () => {
      const fd = as(ALICE, () => withUmask(0o022, () => ok(calls.open('dir', O_TMPFILE | O_RDWR, 0o666))));
      expect(calls.write(fd, Buffer.from('nameless'))).toBe(8);
      expect(fstatSync(fd).nlink).toBe(0);
      ok(calls.linkDescriptor(fd, 'dir/named'));
      expect(readFileSync('dir/named', 'utf8')).toBe('nameless');
      const { uid, gid, nlink } = lstatSync('dir/named');
      expect({ uid, gid, nlink }).toEqual({ uid: ALICE.uid, gid: ALICE.gid, nlink: 1 });
      expect(modeOf('dir/named')).toBe(0o644);
      fails(calls.linkDescriptor(fd, 'dir/named'), 'EEXIST');
      ok(calls.close(fd));
      const other = ok(calls.open('dir', O_TMPFILE | O_EXCL | O_WRONLY, 0o600));
      fails(calls.linkDescriptor(other, 'dir/never'), 'ENOENT');
      ok(calls.close(other));
      as(BOB, () => refuses('dir', O_TMPFILE | O_RDWR, 'EACCES'));
      refuses('dir/named', O_TMPFILE | O_RDWR, 'ENOTDIR');
    },
  },
  {
    name: 'linkat with an empty path names what is open: without a name, with one, and not when the last one is gone',
    arrange: () => makeFile('file'),
    act: () => {
      const nameless = ok(calls.open('.', O_TMPFILE | O_RDWR, 0o600));
      expect(calls.write(nameless, Buffer.from('nameless'))).toBe(8);
      ok(calls.linkEmptyPath(nameless, 'one'));
      ok(calls.linkEmptyPath(nameless, 'two'));
      expect([readFileSync('one', 'utf8'), fstatSync(nameless).nlink]).toEqual(['nameless', 2]);
      for (const flags of [O_PATH, O_RDONLY]) {
        const fd = ok(calls.open('file', flags));
        ok(calls.linkEmptyPath(fd, `link-${flags}`));
        fails(calls.linkEmptyPath(fd, 'one'), 'EEXIST');
        expect(lstatSync(`link-${flags}`).ino).toBe(lstatSync('file').ino);
        ok(calls.close(fd));
      }
      expect(lstatSync('file').nlink).toBe(3);
      for (const name of ['one', 'two']) ok(calls.unlink(name));
      fails(calls.linkEmptyPath(nameless, 'three'), 'ENOENT');
      ok(calls.close(nameless));
      const directory = ok(calls.open('.', O_RDONLY));
      fails(calls.linkEmptyPath(directory, 'directory'), 'EPERM');
      ok(calls.close(directory));
    },
  },
  {
    name: 'what is open goes on without a name: reads, writes, attributes',
    arrange: () => makeFile('file', { content: 'old content' }),
    act: () => {
      const [reader, writer] = [ok(calls.open('file', O_RDONLY)), ok(calls.open('file', O_RDWR))];
      ok(calls.unlink('file'));
      expect(calls.pwrite(writer, Buffer.from('NEW'), 0)).toBe(3);
      expect(readAt(writer, 100, 0).toString()).toBe('NEW content');
      expect(readAt(reader, 3, 4).toString()).toBe('con');
      ok(calls.ftruncate(writer, 5));
      ok(calls.fchmod(writer, 0o600));
      ok(calls.fsetxattr(writer, 'user.name', Buffer.from('value')));
      const { nlink, size, mode } = fstatSync(writer);
      expect({ nlink, size, mode: mode & 0o7777 }).toEqual({ nlink: 0, size: 5, mode: 0o600 });
      opens('file', O_CREAT | O_EXCL | O_RDWR, 0o644);
      expect(readAt(writer, 100, 0).toString()).toBe('NEW c');
      expect(readFileSync('file', 'utf8')).toBe('');
      for (const fd of [reader, writer]) ok(calls.close(fd));
    },
  },
];

describeCases(scratch, {
  open: openCases,
});
