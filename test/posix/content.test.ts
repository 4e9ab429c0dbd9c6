/** The content of files: truncate, fallocate, copy_file_range, holes; set-id bits; programs that run. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, fstatSync, lstatSync, readFileSync, statSync } from 'node:fs';
import { expect } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import * as calls from './calls.ts';
import {
  type Case,
  casesOf,
  describeCases,
  fails,
  makeAny,
  makeFile,
  modeOf,
  ok,
  readAt,
  TYPES,
  tick,
} from './cases.ts';
import { ALICE, as, BOB } from './users.ts';

const scratch = useScratch();
const { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, O_RDONLY, O_RDWR, O_WRONLY } = calls;
const MIB = 1 << 20;

const text = Buffer.from('0123456789'.repeat(1000));

/** Runs `work` with an open file, and closes it. */
function withOpen<T>(path: string, flags: number, work: (fd: number) => T): T {
  const fd = ok(calls.open(path, flags));
  const result = work(fd);
  ok(calls.close(fd));
  return result;
}

const truncating: readonly Case[] = [
  ...casesOf(['truncate', 'ftruncate'], (name) => {
    const resize = (path: string, size: number): number =>
      name === 'truncate' ? calls.truncate(path, size) : withOpen(path, O_WRONLY, (fd) => calls.ftruncate(fd, size));
    return {
      name: `${name} cuts off, and fills with zeros; new mtime and ctime`,
      arrange: () => makeFile('file', { content: text, mode: 0o640 }),
      act: () => {
        const before = statSync('file', { bigint: true });
        tick();
        ok(resize('file', 5000));
        const after = statSync('file', { bigint: true });
        expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs);
        expect(after.ctimeNs).not.toBe(before.ctimeNs);
        expect(readFileSync('file').equals(text.subarray(0, 5000))).toBe(true);
        ok(resize('file', 100_000));
        expect(statSync('file').size).toBe(100_000);
        expect(readFileSync('file').equals(Buffer.concat([text.subarray(0, 5000), Buffer.alloc(95_000)]))).toBe(true);
        ok(resize('file', 5001));
        ok(resize('file', 0));
        expect(readFileSync('file').length).toBe(0);
        ok(resize('file', 3 * MIB * MIB));
        expect(statSync('file')).toMatchObject({ size: 3 * MIB * MIB });
        fails(resize('file', -1), 'EINVAL');
        expect(modeOf('file')).toBe(0o640);
      },
    };
  }),
  {
    name: 'truncate of other than regular files',
    arrange: () => {
      for (const type of TYPES) makeAny(type, type);
    },
    act: () => {
      fails(calls.truncate('directory', 0), 'EISDIR');
      for (const type of ['fifo', 'socket', 'character device']) fails(calls.truncate(type, 0), 'EINVAL');
    },
  },
  {
    name: 'EACCES without permission to write; an open file needs none',
    arrange: () => makeFile('file', { owner: ALICE, mode: 0o644, content: text }),
    act: () => {
      as(BOB, () => fails(calls.truncate('file', 0), 'EACCES'));
      expect(statSync('file').size).toBe(text.length);
      const fd = as(ALICE, () => ok(calls.open('file', O_RDWR)));
      ok(calls.chmod('file', 0));
      as(ALICE, () => {
        fails(calls.truncate('file', 1), 'EACCES');
        ok(calls.ftruncate(fd, 10));
        expect(calls.write(fd, Buffer.from('x'))).toBe(1);
      });
      ok(calls.close(fd));
      expect(readFileSync('file', 'utf8')).toBe('x123456789');
    },
  },
  {
    name: 'writing beyond the end leaves zeros; other descriptors see it at once',
    arrange: () => makeFile('file', { content: 'begin' }),
    act: () => {
      const [one, two] = [ok(calls.open('file', O_RDWR)), ok(calls.open('file', O_RDWR))];
      expect(calls.pwrite(one, Buffer.from('end'), 20_000)).toBe(3);
      expect(fstatSync(two).size).toBe(20_003);
      expect(readAt(two, 30_000, 0).toString('latin1')).toBe(`begin${'\0'.repeat(19_995)}end`);
      ok(calls.ftruncate(two, 3));
      expect(readAt(one, 100, 0).toString()).toBe('beg');
      expect(readAt(one, 100, 3).length).toBe(0);
      for (const fd of [one, two]) ok(calls.close(fd));
    },
  },
];

const ranges: readonly Case[] = [
  {
    name: 'fallocate: makes a file longer, or not; holes and zeros',
    arrange: () => makeFile('file', { content: text }),
    act: () =>
      withOpen('file', O_RDWR, (fd) => {
        ok(calls.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MIB));
        expect(fstatSync(fd).size).toBe(text.length);
        ok(calls.fallocate(fd, 0, 0, 20_000));
        expect(fstatSync(fd).size).toBe(20_000);
        ok(calls.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5000));
        ok(calls.fallocate(fd, FALLOC_FL_ZERO_RANGE, 9000, 50_000));
        const wanted = Buffer.concat([text, Buffer.alloc(49_000)])
          .fill(0, 100, 5100)
          .fill(0, 9000);
        expect(readAt(fd, MIB, 0).equals(wanted)).toBe(true);
        fails(calls.fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), 'EOPNOTSUPP');
        fails(calls.fallocate(fd, 0, -1, 10), 'EINVAL');
        fails(calls.fallocate(fd, 0, 0, 0), 'EINVAL');
      }),
  },
  {
    name: 'holes stay holes when something else changes',
    arrange: () => {
      makeFile('file');
      ok(calls.truncate('file', 8 * MIB));
    },
    act: () => {
      withOpen('file', O_RDWR, (fd) => {
        expect(calls.pwrite(fd, Buffer.from('data'), 4 * MIB)).toBe(4);
        ok(calls.fsync(fd));
      });
      ok(calls.chmod('file', 0o600));
      expect(statSync('file').blocks * 512).toBeLessThan(2 * MIB);
      withOpen('file', O_RDONLY, (fd) => {
        expect(calls.lseek(fd, 2 * MIB, 3)).toBe(4 * MIB);
        expect(calls.lseek(fd, 4 * MIB, 4)).toBe(4 * MIB + 4096);
      });
    },
  },
  {
    name: 'copy_file_range within a file, between files, and past the end',
    arrange: () => {
      makeFile('from', { content: text });
      makeFile('to', { content: 'to' });
    },
    act: () => {
      const [from, to] = [ok(calls.open('from', O_RDWR)), ok(calls.open('to', O_RDWR))];
      expect(calls.copyRange(from, 10, to, 5, 100)).toBe(100);
      expect(calls.copyRange(from, text.length - 10, to, 105, 100)).toBe(10);
      expect(calls.copyRange(from, text.length, to, 0, 100)).toBe(0);
      expect(readAt(to, 200, 0).toString('latin1')).toBe(`to\0\0\0${text.subarray(10, 110)}${text.subarray(-10)}`);
      expect(calls.copyRange(from, 0, from, 20_000, 50)).toBe(50);
      expect(statSync('from').size).toBe(20_050);
      fails(calls.copyRange(from, 0, from, 10, 50), 'EINVAL');
      for (const fd of [from, to]) ok(calls.close(fd));
      withOpen('from', O_RDONLY, (fd) => fails(calls.copyRange(fd, 0, fd, 50_000, 5), 'EBADF'));
    },
  },
];

/** Calls that change the content of a file that is open for writing. */
const WRITES: Readonly<Record<string, (fd: number) => number>> = {
  write: (fd) => calls.pwrite(fd, Buffer.from('x'), 0),
  ftruncate: (fd) => calls.ftruncate(fd, 3),
  fallocate: (fd) => calls.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 3),
};

const setIds: readonly Case[] = [
  ...casesOf(Object.entries(WRITES), ([name, write]) => ({
    name: `${name} by another than root clears set-id bits and capabilities of a program`,
    arrange: () => {
      makeFile('program', { mode: 0o6777, owner: BOB });
      makeFile('locked', { mode: 0o6666, owner: BOB });
    },
    act: () => {
      for (const path of ['program', 'locked']) {
        const fd = as(ALICE, () => ok(calls.open(path, O_RDWR)));
        expect(modeOf(path) & 0o6000).toBe(0o6000);
        as(ALICE, () => ok(write(fd)));
        ok(calls.close(fd));
      }
      expect(modeOf('program').toString(8)).toBe('777');
      // without permission for the group to execute, the bit meant mandatory locks
      expect(modeOf('locked') & 0o4000).toBe(0);
    },
  })),
  {
    name: 'so do truncate and O_TRUNC',
    arrange: () => {
      for (const name of ['one', 'two']) makeFile(name, { mode: 0o6777, owner: BOB });
    },
    act: () => {
      as(ALICE, () => {
        ok(calls.truncate('one', 2));
        ok(calls.close(ok(calls.open('two', O_WRONLY | calls.O_TRUNC))));
      });
      expect([modeOf('one'), modeOf('two')]).toEqual([0o777, 0o777]);
    },
  },
  {
    name: 'the set-group-ID bit of a file that its group may not execute stays for a writer of that group',
    arrange: () => makeFile('locked', { mode: 0o6664, owner: ALICE }),
    act: () => {
      as(ALICE, () => withOpen('locked', O_RDWR, (fd) => expect(calls.pwrite(fd, Buffer.from('x'), 0)).toBe(1)));
      expect(modeOf('locked').toString(8)).toBe('2664');
    },
  },
  {
    name: 'the owner keeps them without writing; a read does not clear them',
    arrange: () => makeFile('program', { mode: 0o6755, owner: ALICE }),
    act: () => {
      as(ALICE, () => withOpen('program', O_RDWR, (fd) => expect(calls.read(fd, 3).toString()).toBe('con')));
      expect(modeOf('program')).toBe(0o6755);
    },
  },
  {
    name: 'capabilities go with a write',
    arrange: () => {
      makeFile('program', { mode: 0o777 });
      // VFS_CAP_REVISION_2 with the effective bit: CAP_CHOWN
      const value = Buffer.from('0100000201000000000000000000000000000000', 'hex');
      ok(calls.setxattr('program', 'security.capability', value));
    },
    act: () => {
      as(ALICE, () => withOpen('program', O_RDWR, (fd) => expect(calls.pwrite(fd, Buffer.from('x'), 0)).toBe(1)));
      fails(calls.lremovexattr('program', 'security.capability'), 'ENODATA');
    },
  },
];

const run = (path: string, ...args: string[]) => spawnSync(path, args, { encoding: 'utf8' });

const programs: readonly Case[] = [
  {
    name: 'what was just written runs; EACCES without permission to execute',
    act: () => {
      makeFile('script', { content: '#!/bin/sh\necho "$1 from a script"\n', mode: 0o755 });
      copyFileSync('/bin/echo', 'binary');
      ok(calls.chmod('binary', 0o755));
      expect(run(`${process.cwd()}/script`, 'hello').stdout).toBe('hello from a script\n');
      expect(run(`${process.cwd()}/binary`, 'hello').stdout).toBe('hello\n');
      ok(calls.chmod('binary', 0o644));
      expect((run(`${process.cwd()}/binary`).error as NodeJS.ErrnoException).code).toBe('EACCES');
    },
  },
  {
    name: 'ETXTBSY for running what is open to write',
    arrange: () => {
      copyFileSync('/bin/true', 'binary');
      ok(calls.chmod('binary', 0o755));
    },
    act: () => {
      expect(run(`${process.cwd()}/binary`).status).toBe(0);
      const fd = ok(calls.open('binary', O_RDWR));
      expect((run(`${process.cwd()}/binary`).error as NodeJS.ErrnoException).code).toBe('ETXTBSY');
      ok(calls.close(fd));
      expect(run(`${process.cwd()}/binary`).status).toBe(0);
    },
  },
  {
    name: 'a set-user-ID program gets the rights of its owner',
    arrange: () => {
      copyFileSync('/usr/bin/id', 'id');
      ok(calls.chown('id', ALICE.uid, BOB.gid));
      ok(calls.chmod('id', 0o6755));
    },
    act: () => {
      expect(existsSync('/usr/bin/id')).toBe(true);
      expect(run(`${process.cwd()}/id`, '-u').stdout.trim()).toBe(`${ALICE.uid}`);
      expect(run(`${process.cwd()}/id`, '-g').stdout.trim()).toBe(`${BOB.gid}`);
      expect(lstatSync('id').uid).toBe(ALICE.uid);
    },
  },
];

describeCases(scratch, {
  truncate: truncating,
  ranges: ranges,
  'set-id bits': setIds,
  programs: programs,
});
