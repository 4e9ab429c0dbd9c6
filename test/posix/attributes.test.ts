/** chmod, chown and utimensat: their effects, the times that change with them, and permissions. */
import { execFileSync } from 'node:child_process';
import { fstatSync, lstatSync, symlinkSync } from 'node:fs';
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
  TYPES,
  tick,
} from './cases.ts';
import { ALICE, as, BOB, CAROL } from './users.ts';

const scratch = useScratch();

/** Expects that `call` sets a new ctime of `path`, or leaves it. */
function expectCtime(path: string, changes: boolean, call: () => void): void {
  const before = lstatSync(path, { bigint: true }).ctimeNs;
  tick();
  call();
  expect(lstatSync(path, { bigint: true }).ctimeNs !== before).toBe(changes);
}

const withTarget = (): void => {
  makeFile('file', { mode: 0o640, owner: ALICE });
  symlinkSync('file', 'link');
};

const chmodCases: readonly Case[] = [
  ...casesOf(
    TYPES.filter((type) => type !== 'symlink'),
    (type) => ({
      name: `sets all twelve bits of a ${type}, and its ctime`,
      arrange: () => makeAny(type, 'it'),
      act: () => {
        for (const mode of [0o111, 0o7777, 0, 0o4644, 0o2755, 0o1700]) {
          expectCtime('it', true, () => ok(calls.chmod('it', mode)));
          expect(modeOf('it').toString(8)).toBe(mode.toString(8));
        }
      },
    }),
  ),
  {
    name: 'follows a symbolic link',
    arrange: withTarget,
    act: () => {
      ok(calls.chmod('link', 0o604));
      expect(modeOf('file')).toBe(0o604);
      expect(modeOf('link')).toBe(0o777);
    },
  },
  {
    name: 'of an open file, also without a name',
    arrange: withTarget,
    act: () => {
      const fd = ok(calls.open('file', calls.O_RDONLY));
      ok(calls.fchmod(fd, 0o600));
      expect(modeOf('file')).toBe(0o600);
      ok(calls.unlink('file'));
      ok(calls.fchmod(fd, 0o611));
      expect(fstatSync(fd).mode & 0o7777).toBe(0o611);
      ok(calls.close(fd));
    },
  },
  {
    name: 'EPERM but for the owner; then the ctime stays',
    arrange: withTarget,
    act: () => {
      as(ALICE, () => ok(calls.chmod('file', 0o666)));
      expectCtime('file', false, () => as(BOB, () => fails(calls.chmod('file', 0o600), 'EPERM')));
      expect(modeOf('file')).toBe(0o666);
    },
  },
  {
    name: 'clears the set-group-ID bit for an owner who is not in the group',
    arrange: () => makeFile('file', { mode: 0o755, owner: { ...ALICE, gid: BOB.gid } }),
    act: () => {
      as(ALICE, () => ok(calls.chmod('file', 0o6755)));
      expect(modeOf('file')).toBe(0o4755);
      ok(calls.chmod('file', 0o6755));
      expect(modeOf('file')).toBe(0o6755);
    },
  },
  {
    name: 'keeps the set-group-ID bit for an owner who is in the group',
    arrange: () => makeFile('file', { mode: 0o755, owner: { ...CAROL, gid: ALICE.gid } }),
    act: () => {
      as(CAROL, () => ok(calls.chmod('file', 0o2755)));
      expect(modeOf('file')).toBe(0o2755);
    },
  },
  {
    name: 'is seen through each hard link',
    arrange: () => {
      makeFile('one');
      ok(calls.link('one', 'two'));
    },
    act: () => {
      ok(calls.chmod('two', 0o601));
      expect(modeOf('one')).toBe(0o601);
      expect(lstatSync('one').ino).toBe(lstatSync('two').ino);
      expect(lstatSync('one').nlink).toBe(2);
    },
  },
];

const ownerOf = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid}`;

const chownCases: readonly Case[] = [
  ...casesOf(TYPES, (type) => ({
    name: `sets owner, group or both of a ${type}, and its ctime`,
    arrange: () => makeAny(type, 'it'),
    act: () => {
      expectCtime('it', true, () => ok(calls.lchown('it', 11, 12)));
      expect(ownerOf('it')).toBe('11:12');
      expectCtime('it', true, () => ok(calls.lchown('it', -1, 13)));
      expect(ownerOf('it')).toBe('11:13');
      expectCtime('it', true, () => ok(calls.lchown('it', 14, -1)));
      expect(ownerOf('it')).toBe('14:13');
      ok(calls.lchown('it', -1, -1));
      expect(ownerOf('it')).toBe('14:13');
    },
  })),
  {
    name: 'takes numbers of 32 bits',
    arrange: () => makeFile('file'),
    act: () => {
      ok(calls.chown('file', 0xffff_fffe, 0x8000_0001));
      expect(ownerOf('file')).toBe(`${0xffff_fffe}:${0x8000_0001}`);
    },
  },
  {
    name: 'follows a symbolic link, lchown does not',
    arrange: withTarget,
    act: () => {
      ok(calls.chown('link', BOB.uid, BOB.gid));
      expect(ownerOf('file')).toBe(`${BOB.uid}:${BOB.gid}`);
      expect(ownerOf('link')).toBe('0:0');
      ok(calls.lchown('link', ALICE.uid, 1));
      expect(ownerOf('link')).toBe(`${ALICE.uid}:1`);
      expect(ownerOf('file')).toBe(`${BOB.uid}:${BOB.gid}`);
    },
  },
  {
    name: 'EPERM: to give a file away, to a group of others, of a file of others',
    arrange: () => makeFile('file', { owner: CAROL }),
    act: () => {
      as(CAROL, () => {
        fails(calls.chown('file', ALICE.uid, -1), 'EPERM');
        fails(calls.chown('file', -1, BOB.gid), 'EPERM');
        ok(calls.chown('file', CAROL.uid, ALICE.gid));
        ok(calls.chown('file', -1, CAROL.gid));
      });
      expectCtime('file', false, () => {
        as(ALICE, () => fails(calls.chown('file', ALICE.uid, ALICE.gid), 'EPERM'));
        as(ALICE, () => fails(calls.chown('file', -1, ALICE.gid), 'EPERM'));
      });
      expect(ownerOf('file')).toBe(`${CAROL.uid}:${CAROL.gid}`);
    },
  },
  {
    name: 'clears set-id bits of a program; of a file that no group may execute, not the set-group-ID bit',
    arrange: () => {
      for (const [name, mode] of [
        ['program', 0o6755],
        ['locked', 0o6644],
        ['by-owner', 0o6755],
      ] as const) {
        makeFile(name, { mode, owner: CAROL });
      }
    },
    act: () => {
      ok(calls.chown('program', ALICE.uid, ALICE.gid));
      expect(modeOf('program')).toBe(0o755);
      ok(calls.chown('locked', ALICE.uid, -1));
      expect(modeOf('locked')).toBe(0o2644);
      as(CAROL, () => ok(calls.chown('by-owner', -1, ALICE.gid)));
      expect(modeOf('by-owner')).toBe(0o755);
    },
  },
  {
    name: 'keeps set-id bits of a directory',
    arrange: () => makeDirectory('dir', { mode: 0o7755 }),
    act: () => {
      ok(calls.chown('dir', 11, 12));
      expect(modeOf('dir')).toBe(0o7755);
    },
  },
];

const timesOf = (path: string): [atime: bigint, mtime: bigint] => {
  const { atimeNs, mtimeNs } = lstatSync(path, { bigint: true });
  return [atimeNs, mtimeNs];
};
/** Seconds, by a call that asks for nothing else: other attributes that a file system must read again do not matter. */
const mtimeOf = (path: string): string => execFileSync('stat', ['-c', '%Y', path], { encoding: 'utf8' }).trim();
const BILLION = 1_000_000_000n;

const timeCases: readonly Case[] = [
  ...casesOf(['is read before', 'is read while it is mapped, too'], (when) => ({
    name: `a write through a mapping changes the times at once, also if its status ${when}`,
    arrange: () => makeFile('file', { content: 'content' }),
    act: (site) => {
      ok(calls.utimens('file', [1, 0], [1, 0]));
      expect(mtimeOf('file')).toBe('1');
      const fd = ok(calls.open('file', calls.O_RDWR));
      const change = (bytes: Uint8Array): void => {
        // overlayfs changes the time when it copies the data of a file that has only its metadata
        if (when !== 'is read before' && site !== 'overlayfs') expect(mtimeOf('file')).toBe('1');
        bytes[0] = (bytes[0] as number) ^ 1;
        expect(mtimeOf('file')).not.toBe('1');
      };
      ok(calls.withMapping(fd, 7, 'shared', change));
      ok(calls.close(fd));
      expect(mtimeOf('file')).not.toBe('1');
    },
  })),
  ...casesOf(TYPES, (type) => ({
    name: `sets both times of a ${type} to the nanosecond, and its ctime`,
    arrange: () => makeAny(type, 'it'),
    act: () => {
      const set = (): number =>
        calls.utimens('it', [1_234_567_890, 987_654_321], [1_000_000_000, 1], calls.AT_SYMLINK_NOFOLLOW);
      expectCtime('it', true, () => ok(set()));
      expect(timesOf('it')).toEqual([1_234_567_890_987_654_321n, BILLION * BILLION + 1n]);
    },
  })),
  {
    name: 'takes times before 1970 and after 2038',
    arrange: () => makeFile('file'),
    act: () => {
      for (const seconds of [-1, -1_000_000, 2 ** 31, 2 ** 32 + 5]) {
        ok(calls.utimens('file', [seconds, 7], [seconds, 8]));
        expect(timesOf('file')).toEqual([BigInt(seconds) * BILLION + 7n, BigInt(seconds) * BILLION + 8n]);
      }
    },
  },
  {
    name: 'leaves a time out, or takes the present',
    arrange: () => makeFile('file'),
    act: () => {
      ok(calls.utimens('file', [5, 0], [6, 0]));
      ok(calls.utimens('file', 'omit', [7, 0]));
      expect(timesOf('file')).toEqual([5n * BILLION, 7n * BILLION]);
      ok(calls.utimens('file', [8, 0], 'omit'));
      expect(timesOf('file')).toEqual([8n * BILLION, 7n * BILLION]);
      const before = BigInt(Date.now() - 1000) * 1_000_000n;
      ok(calls.utimens('file', 'now', 'omit'));
      expect(timesOf('file')[0]).toBeGreaterThan(before);
      ok(calls.utimens('file', 'omit', 'now'));
      expect(timesOf('file')[1]).toBeGreaterThan(before);
    },
  },
  {
    name: 'EINVAL for a billion nanoseconds',
    arrange: () => makeFile('file'),
    act: () => {
      fails(calls.utimens('file', [0, 1_000_000_000], [0, 0]), 'EINVAL');
      fails(calls.utimens('file', [0, 0], [0, -1]), 'EINVAL');
    },
  },
  {
    name: 'of another: the present with permission to write only (else EACCES), other times never (EPERM)',
    arrange: () => {
      makeFile('closed', { mode: 0o644, owner: ALICE });
      makeFile('open', { mode: 0o666, owner: ALICE });
    },
    act: () => {
      as(BOB, () => {
        fails(calls.utimens('closed', 'now', 'now'), 'EACCES');
        ok(calls.utimens('open', 'now', 'now'));
        fails(calls.utimens('open', [1, 0], [1, 0]), 'EPERM');
        fails(calls.utimens('open', 'now', 'omit'), 'EPERM');
        ok(calls.utimens('open', 'omit', 'omit'));
      });
      as(ALICE, () => ok(calls.utimens('closed', [1, 0], [1, 0])));
    },
  },
  {
    name: 'follows a symbolic link unless that is forbidden; works on an open file',
    arrange: withTarget,
    act: () => {
      ok(calls.utimens('link', [1, 0], [2, 0]));
      expect(timesOf('file')).toEqual([BILLION, 2n * BILLION]);
      ok(calls.utimens('link', [3, 0], [4, 0], calls.AT_SYMLINK_NOFOLLOW));
      expect(timesOf('link')).toEqual([3n * BILLION, 4n * BILLION]);
      const fd = ok(calls.open('file', calls.O_RDONLY));
      ok(calls.futimens(fd, [5, 0], [6, 0]));
      ok(calls.close(fd));
      expect(timesOf('file')).toEqual([5n * BILLION, 6n * BILLION]);
    },
  },
];

describeCases(scratch, {
  chmod: chmodCases,
  chown: chownCases,
  utimensat: timeCases,
});
