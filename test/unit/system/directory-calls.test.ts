import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import {
  EACCES,
  EBADF,
  EEXIST,
  EINVAL,
  EISDIR,
  ENAMETOOLONG,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EOPNOTSUPP,
  EPERM,
  EXDEV,
  isErrno,
} from '../../../src/base/errno.ts';
import { encodeDevice, S_IFBLK, S_IFCHR, S_IFIFO, S_IFREG, S_IFSOCK } from '../../../src/base/stat-bits.ts';
import { openNameless } from '../../../src/system/descriptors.ts';
import {
  chmodAt,
  chmodByPath,
  chownAt,
  createAt,
  makeDirectoryAt,
  makeNodeAt,
  makeSymlinkAt,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  readLinkAt,
  removeDirectoryAt,
  renameAt,
  setTimesAt,
} from '../../../src/system/directory-calls.ts';
import { readDirectory } from '../../../src/system/directory-listing.ts';
import { emptyFileStatus, type FileStatus, statusAt, statusOf } from '../../../src/system/file-status.ts';
import { O_PATH } from '../../../src/system/libc.ts';
import { linkAt, unlinkAt } from '../../../src/system/names.ts';
import { isRoot } from '../../support/root.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const bytes = (name: string): Uint8Array => Buffer.from(name);
const NONE: Uint8Array = Uint8Array.of();
/** 255 bytes: each value except NUL and "/"; one value is there twice. */
const ANY_BYTES: Uint8Array = Uint8Array.from({ length: 255 }, (_, i) => (i + 1 === 0x2f ? 0x80 : i + 1));
const TOO_LONG: Uint8Array = new Uint8Array(256).fill(0x61);
/** Longer than the initial buffer for names. */
const FAR_TOO_LONG: Uint8Array = new Uint8Array(9000).fill(0x61);

/** Opens a directory of its own for a test. */
function directory(name: string): { dir: number; path: (...names: string[]) => string } {
  mkdirSync(at(name));
  return { dir: open(at(name)), path: (...names) => at(name, ...names) };
}

const opened: number[] = [];
afterAll(() => {
  for (const fd of opened) closeSync(fd);
});

function open(path: string | Buffer, flags: number = constants.O_RDONLY): number {
  const fd = openSync(path, flags);
  opened.push(fd);
  return fd;
}

function statusIn(dir: number, name: string | Uint8Array): FileStatus {
  const status = emptyFileStatus();
  expect(statusAt(dir, typeof name === 'string' ? bytes(name) : name, status)).toBe(0);
  return status;
}

const modeOf = (path: string): number => lstatSync(path).mode & 0o7777;

/** A file system that does not keep names and files of the scratch directory. */
const OTHER = '/dev/shm';
const hasOther = statSync(OTHER).dev !== statSync('/var/tmp').dev;

describe('making and removing', () => {
  const { dir, path } = directory('making');

  test('makes directories with names of any bytes, and removes them', () => {
    expect(makeDirectoryAt(dir, ANY_BYTES, 0o700)).toBe(0);
    expect(readdirSync(path(), { encoding: 'buffer' })).toEqual([Buffer.from(ANY_BYTES)]);
    expect(makeDirectoryAt(dir, ANY_BYTES, 0o700)).toBe(EEXIST);
    expect(removeDirectoryAt(dir, ANY_BYTES)).toBe(0);
    expect(removeDirectoryAt(dir, ANY_BYTES)).toBe(ENOENT);
  });

  test('refuses names that are too long, empty, or not of a directory', () => {
    writeFileSync(path('file'), '');
    symlinkSync('nowhere', path('dangling'));
    for (const name of [TOO_LONG, FAR_TOO_LONG]) expect(makeDirectoryAt(dir, name, 0o700)).toBe(ENAMETOOLONG);
    expect(makeDirectoryAt(dir, NONE, 0o700)).toBe(ENOENT);
    expect(makeDirectoryAt(dir, bytes('dangling'), 0o700)).toBe(EEXIST);
    expect(makeDirectoryAt(open(path('file')), bytes('in'), 0o700)).toBe(ENOTDIR);
    expect(makeDirectoryAt(-1, bytes('in'), 0o700)).toBe(EBADF);
    expect(removeDirectoryAt(dir, bytes('file'))).toBe(ENOTDIR);
    expect(removeDirectoryAt(dir, bytes('dangling'))).toBe(ENOTDIR);
  });

  test('removes no directory that has entries', () => {
    mkdirSync(path('full'));
    writeFileSync(path('full', 'entry'), '');
    expect(removeDirectoryAt(dir, bytes('full'))).toBe(ENOTEMPTY);
    unlinkSync(path('full', 'entry'));
    expect(removeDirectoryAt(dir, bytes('full'))).toBe(0);
  });

  test.each([
    { type: 'regular file', bits: S_IFREG },
    { type: 'FIFO', bits: S_IFIFO },
    { type: 'socket', bits: S_IFSOCK },
  ])('makes a $type', ({ type, bits }) => {
    expect(makeNodeAt(dir, bytes(type), bits | 0o600, 0)).toBe(0);
    expect(statusIn(dir, type)).toMatchObject({ mode: bits | 0o600, nlink: 1, size: 0, rdev: 0 });
    expect(makeNodeAt(dir, bytes(type), bits | 0o600, 0)).toBe(EEXIST);
  });

  test('makes a regular file that is open, also if its mode permits nothing', () => {
    const fd = createAt(dir, bytes('created'), 0);
    expect(isErrno(fd)).toBe(false);
    expect(writeSync(fd, 'content')).toBe(7);
    expect(statusIn(dir, 'created')).toMatchObject({ mode: S_IFREG, nlink: 1, size: 7 });
    closeSync(fd);
    expect(createAt(dir, bytes('created'), 0o600)).toBe(EEXIST);
    expect(createAt(dir, bytes('dangling'), 0o600)).toBe(EEXIST);
    expect(createAt(dir, TOO_LONG, 0o600)).toBe(ENAMETOOLONG);
  });

  test.runIf(isRoot).each([
    { bits: S_IFCHR, major: 1, minor: 3 },
    { bits: S_IFBLK, major: 4095, minor: 0xfffff },
    { bits: S_IFCHR, major: 0, minor: 0 },
  ])('makes a device $bits with numbers $major, $minor', ({ bits, major, minor }) => {
    const name = `device ${bits} ${major}`;
    const rdev = encodeDevice(major, minor);
    expect(makeNodeAt(dir, bytes(name), bits | 0o600, rdev)).toBe(0);
    expect(statusIn(dir, name)).toMatchObject({ mode: bits | 0o600, rdev });
  });

  test.runIf(!isRoot)('makes no device but a whiteout for an ordinary user', () => {
    expect(makeNodeAt(dir, bytes('null'), S_IFCHR | 0o600, encodeDevice(1, 3))).toBe(EPERM);
    // Linux 5.8
    expect(makeNodeAt(dir, bytes('whiteout'), S_IFCHR, 0)).toBe(0);
  });

  test.each([1, 100, 4095])('makes a symbolic link to a target of %i bytes, and reads it', (length) => {
    const name = bytes(`link ${length}`);
    const target = Uint8Array.from({ length }, (_, i) => (i % 255) + 1);
    expect(makeSymlinkAt(dir, name, target)).toBe(0);
    expect(readLinkAt(dir, name)).toEqual(target);
    expect(readLinkAt(open(path(`link ${length}`), O_PATH | constants.O_NOFOLLOW), NONE)).toEqual(target);
    expect(makeSymlinkAt(dir, name, target)).toBe(EEXIST);
  });

  test('makes no symbolic link to an impossible target', () => {
    expect(makeSymlinkAt(dir, bytes('bad'), new Uint8Array(4096).fill(0x61))).toBe(ENAMETOOLONG);
    expect(makeSymlinkAt(dir, bytes('bad'), NONE)).toBe(ENOENT);
    expect(makeSymlinkAt(dir, bytes('bad'), bytes('a\0b'))).toBe(EINVAL);
    expect(makeSymlinkAt(dir, FAR_TOO_LONG, bytes('a'))).toBe(ENAMETOOLONG);
    expect(readLinkAt(dir, bytes('bad'))).toBe(ENOENT);
  });

  test('reads no target of a file that is not a symbolic link', () => {
    expect(readLinkAt(dir, bytes('file'))).toBe(EINVAL);
    expect(readLinkAt(dir, TOO_LONG)).toBe(ENAMETOOLONG);
  });

  test('reads a target that stays its own when the next one is read', () => {
    const first = readLinkAt(dir, bytes('dangling'));
    symlinkSync('elsewhere', path('second'));
    readLinkAt(dir, bytes('second'));
    expect(first).toEqual(Uint8Array.from(bytes('nowhere')));
  });
});

describe('renameAt()', () => {
  const { dir, path } = directory('renaming');
  mkdirSync(path('sub'));
  const sub = open(path('sub'));
  const rename = (from: string, to: string, flags = 0, toDir = dir): number =>
    renameAt(dir, bytes(from), toDir, bytes(to), flags);
  const write = (name: string): void => writeFileSync(path(name), name);

  test('moves into another directory, under a name of any bytes, and replaces an existing file', () => {
    write('a');
    expect(renameAt(dir, bytes('a'), sub, ANY_BYTES, 0)).toBe(0);
    expect(renameAt(sub, ANY_BYTES, dir, bytes('b'), 0)).toBe(0);
    symlinkSync('b', path('link'));
    expect(rename('b', 'link')).toBe(0);
    expect(lstatSync(path('link')).isFile()).toBe(true);
    expect(readdirSync(path())).toEqual(['link', 'sub']);
  });

  test('with RENAME_NOREPLACE replaces nothing, not even a dangling link', () => {
    write('c');
    symlinkSync('nowhere', path('dangling'));
    expect(rename('c', 'dangling', RENAME_NOREPLACE)).toBe(EEXIST);
    expect(rename('c', 'd', RENAME_NOREPLACE)).toBe(0);
    expect(rename('c', 'd', RENAME_NOREPLACE)).toBe(ENOENT);
  });

  test('with RENAME_EXCHANGE swaps a file and a directory with entries', () => {
    write('file');
    mkdirSync(path('directory', 'sub'), { recursive: true });
    expect(rename('file', 'directory', RENAME_EXCHANGE)).toBe(0);
    expect([lstatSync(path('file')).isDirectory(), lstatSync(path('directory')).isFile()]).toEqual([true, true]);
    expect(rename('file', 'missing', RENAME_EXCHANGE)).toBe(ENOENT);
    expect(rename('file', 'directory', RENAME_EXCHANGE | RENAME_NOREPLACE)).toBe(EINVAL);
  });

  test('with RENAME_WHITEOUT leaves a device 0:0 behind', () => {
    write('gone');
    expect(rename('gone', 'there', RENAME_WHITEOUT, sub)).toBe(0);
    expect(statusIn(dir, 'gone')).toMatchObject({ mode: S_IFCHR, rdev: 0 });
    unlinkSync(path('gone'));
  });

  test('returns the error', () => {
    write('plain');
    mkdirSync(path('full', 'entry'), { recursive: true });
    mkdirSync(path('empty'));
    expect(rename('empty', 'full')).toBe(ENOTEMPTY);
    expect(rename('plain', 'empty')).toBe(EISDIR);
    expect(rename('empty', 'plain')).toBe(ENOTDIR);
    expect(renameAt(dir, bytes('full'), open(path('full')), bytes('in itself'), 0)).toBe(EINVAL);
    expect(renameAt(dir, bytes('plain'), dir, TOO_LONG, 0)).toBe(ENAMETOOLONG);
    expect(renameAt(dir, FAR_TOO_LONG, dir, FAR_TOO_LONG, 0)).toBe(ENAMETOOLONG);
    expect(rename('plain', 'x', 0x40000000)).toBe(EINVAL);
  });

  test('does nothing if both are names of one file', () => {
    write('one');
    linkSync(path('one'), path('other'));
    expect(rename('one', 'other')).toBe(0);
    expect(statusIn(dir, 'one').nlink).toBe(2);
  });

  test.runIf(hasOther)('moves nothing to another file system', () => {
    write('stays');
    const other = mkdtempSync(`${OTHER}/cfs-test.`);
    try {
      expect(renameAt(dir, bytes('stays'), open(other), bytes('x'), 0)).toBe(EXDEV);
    } finally {
      rmSync(other, { recursive: true });
    }
  });
});

describe('statusAt()', () => {
  const { dir, path } = directory('status');

  test.each(['file', 'directory', 'link', 'fifo'])('returns for a %s the same as lstat', (name) => {
    if (name === 'file') writeFileSync(path(name), 'x'.repeat(5000));
    if (name === 'directory') mkdirSync(path(name));
    if (name === 'link') symlinkSync('nowhere', path(name));
    if (name === 'fifo') makeNodeAt(dir, bytes(name), S_IFIFO | 0o600, 0);
    const stat = lstatSync(path(name), { bigint: true });
    const time = (ns: bigint): { low: number; high: number; nsec: number } => ({
      low: Number(BigInt.asUintN(32, ns / 1_000_000_000n)),
      high: Number((ns / 1_000_000_000n) >> 32n),
      nsec: Number(ns % 1_000_000_000n),
    });
    const [atime, mtime, ctime] = [time(stat.atimeNs), time(stat.mtimeNs), time(stat.ctimeNs)];
    const expected: Partial<FileStatus> = {
      mode: Number(stat.mode),
      nlink: Number(stat.nlink),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      size: Number(stat.size),
      blocks: Number(stat.blocks),
      inoLow: Number(BigInt.asUintN(32, stat.ino)),
      inoHigh: Number(stat.ino >> 32n),
      dev: Number(stat.dev),
      rdev: 0,
      atimeLow: atime.low,
      atimeHigh: atime.high,
      atimeNsec: atime.nsec,
      mtimeLow: mtime.low,
      mtimeHigh: mtime.high,
      mtimeNsec: mtime.nsec,
      ctimeLow: ctime.low,
      ctimeHigh: ctime.high,
      ctimeNsec: ctime.nsec,
    };
    const named = statusIn(dir, name);
    expect(named).toMatchObject(expected);
    // the time of creation is that of node, if the file system has one
    const birth = time(stat.birthtimeNs);
    if (named.btimeLow !== 0) expect([named.btimeLow, named.btimeNsec]).toEqual([birth.low, birth.nsec]);
    const [of, empty] = [emptyFileStatus(), emptyFileStatus()];
    const fd = open(path(name), O_PATH | constants.O_NOFOLLOW);
    expect([statusOf(fd, of), statusAt(fd, NONE, empty)]).toEqual([0, 0]);
    expect([of, empty]).toEqual([named, named]);
  });

  test('has no time of creation if the file system has none', () => {
    const status = emptyFileStatus();
    status.btimeLow = 7;
    expect(statusOf(open('/proc/self'), status)).toBe(0);
    expect([status.btimeLow, status.btimeHigh, status.btimeNsec]).toEqual([0, 0, 0]);
  });

  test('returns the numbers of a device', () => {
    expect(statusIn(open('/dev'), 'null')).toMatchObject({ mode: lstatSync('/dev/null').mode, rdev: 0x103 });
  });

  test('leaves the structure to fill unchanged when it fails', () => {
    const status = emptyFileStatus();
    expect(statusAt(dir, bytes('missing'), status)).toBe(ENOENT);
    expect(statusAt(dir, TOO_LONG, status)).toBe(ENAMETOOLONG);
    expect(statusAt(open(path('file')), bytes('in'), status)).toBe(ENOTDIR);
    expect(statusOf(-1, status)).toBe(EBADF);
    expect(status).toEqual(emptyFileStatus());
  });
});

describe('changing attributes', () => {
  const { dir, path } = directory('attributes');
  writeFileSync(path('file'), '');
  mkdirSync(path('directory'));
  symlinkSync('file', path('link'));
  symlinkSync('nowhere', path('dangling'));
  const openNode = (name: string): number => open(path(name), O_PATH | constants.O_NOFOLLOW);

  describe.each([
    { way: 'fchmodat2', chmod: chmodAt },
    { way: 'path', chmod: chmodByPath },
  ])('chmodAt() by $way', ({ chmod }) => {
    test.each(['file', 'directory'])('changes the mode of a %s', (name) => {
      expect(chmod(dir, bytes(name), 0o4711)).toBe(0);
      expect(modeOf(path(name))).toBe(0o4711);
      expect(chmod(openNode(name), NONE, 0o700)).toBe(0);
      expect(modeOf(path(name))).toBe(0o700);
    });

    test('changes neither a symbolic link nor its target', () => {
      chmodSync(path('file'), 0o600);
      expect([chmod(dir, bytes('link'), 0o777), chmod(dir, bytes('dangling'), 0o777)]).toEqual([
        EOPNOTSUPP,
        EOPNOTSUPP,
      ]);
      expect(chmod(openNode('link'), NONE, 0o777)).toBe(EOPNOTSUPP);
      expect(modeOf(path('file'))).toBe(0o600);
    });

    test('returns the error', () => {
      expect(chmod(dir, bytes('missing'), 0o777)).toBe(ENOENT);
      expect(chmod(dir, TOO_LONG, 0o777)).toBe(ENAMETOOLONG);
      expect(chmod(-1, NONE, 0o777)).toBe(EBADF);
    });

    test.runIf(!isRoot)('changes no file of another user', () => {
      expect(chmod(open('/'), bytes('etc'), 0o777)).toBe(EPERM);
    });
  });

  test('chownAt() with -1 changes nothing but clears set-id bits', () => {
    const before = lstatSync(path('file'));
    chmodSync(path('file'), 0o6755);
    expect(chownAt(dir, bytes('file'), -1, -1)).toBe(0);
    const after = lstatSync(path('file'));
    expect([after.uid, after.gid, after.mode & 0o7777]).toEqual([before.uid, before.gid, 0o755]);
    expect(chownAt(dir, bytes('missing'), -1, -1)).toBe(ENOENT);
  });

  test.runIf(isRoot)('chownAt() sets one or both, of a symbolic link itself', () => {
    expect(chownAt(dir, bytes('file'), 5, -1)).toBe(0);
    expect(chownAt(dir, bytes('link'), 4_000_000_000, 7)).toBe(0);
    expect(chownAt(dir, bytes('link'), -1, 8)).toBe(0);
    expect(chownAt(openNode('directory'), NONE, 9, 10)).toBe(0);
    expect(statusIn(dir, 'file')).toMatchObject({ uid: 5, gid: 0 });
    expect(statusIn(dir, 'link')).toMatchObject({ uid: 4_000_000_000, gid: 8 });
    expect(statusIn(dir, 'directory')).toMatchObject({ uid: 9, gid: 10 });
  });

  test.runIf(!isRoot)('chownAt() cannot give files away for an ordinary user', () => {
    expect(chownAt(dir, bytes('link'), 0, -1)).toBe(EPERM);
  });

  // ext4 with inodes of 256 bytes has 34 bits of seconds: until 2446
  test.each([
    { when: '1969', seconds: -1n, nsec: 1 },
    { when: '1901', seconds: -0x7fff_ffffn, nsec: 999_999_999 },
    { when: '1970', seconds: 0n, nsec: 0 },
    { when: '2039', seconds: 0x8000_0000n, nsec: 5 },
    { when: '2400', seconds: 13_569_465_600n, nsec: 7 },
  ])('setTimesAt() sets times of $when', ({ seconds, nsec }) => {
    const time = { low: Number(BigInt.asUintN(32, seconds)), high: Number(seconds >> 32n), nsec };
    expect(setTimesAt(dir, bytes('dangling'), time, time)).toBe(0);
    const status = statusIn(dir, 'dangling');
    const words = { low: time.low, high: time.high >>> 0, nsec };
    expect({ low: status.mtimeLow, high: status.mtimeHigh, nsec: status.mtimeNsec }).toEqual(words);
    expect({ low: status.atimeLow, high: status.atimeHigh, nsec: status.atimeNsec }).toEqual(words);
    // words of a status are words to set
    const again = { low: status.mtimeLow, high: status.mtimeHigh, nsec: status.mtimeNsec };
    expect(setTimesAt(openNode('link'), NONE, undefined, again)).toBe(0);
    expect(statusIn(dir, 'link')).toMatchObject({ mtimeLow: words.low, mtimeHigh: words.high, mtimeNsec: nsec });
  });

  test('setTimesAt() keeps one, and sets the other to the present', () => {
    const old = { low: 5, high: 0, nsec: 6 };
    expect(setTimesAt(dir, bytes('file'), old, old)).toBe(0);
    expect(setTimesAt(dir, bytes('file'), undefined, 'now')).toBe(0);
    const status = statusIn(dir, 'file');
    expect([status.atimeLow, status.atimeNsec]).toEqual([5, 6]);
    expect(status.mtimeLow).toBeGreaterThan(1_600_000_000);
    expect(setTimesAt(dir, bytes('file'), 'now', old)).toBe(0);
    expect(statusIn(dir, 'file').mtimeLow).toBe(5);
    expect(statusIn(dir, 'file').atimeLow).toBeGreaterThan(1_600_000_000);
  });

  test.each([1_000_000_000, 0x3fffffff, 0x3ffffffe, -1, Number.NaN])('setTimesAt() refuses %d nanoseconds', (nsec) => {
    const before = statusIn(dir, 'file');
    expect(setTimesAt(dir, bytes('file'), { low: 1, high: 0, nsec }, undefined)).toBe(EINVAL);
    expect(statusIn(dir, 'file')).toEqual(before);
  });
});

describe('readDirectory()', () => {
  const { dir, path } = directory('listing');

  const entriesOf = (fd: number): { name: string; type: number; ino: number }[] => {
    const entries: { name: string; type: number; ino: number }[] = [];
    expect(
      readDirectory(fd, (name, type, ino) => {
        entries.push({ name: Buffer.from(name).toString('latin1'), type, ino });
      }),
    ).toBe(0);
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  };

  test('lists nothing of an empty directory', () => {
    expect(entriesOf(dir)).toEqual([]);
  });

  test('lists names, types and inode numbers, and names that only look like "." and ".."', () => {
    for (const name of ['...', '.a', '..b']) writeFileSync(path(name), '');
    writeFileSync(Buffer.concat([Buffer.from(`${path()}/`), ANY_BYTES]), '');
    mkdirSync(path('directory'));
    symlinkSync('nowhere', path('link'));
    makeNodeAt(dir, bytes('fifo'), S_IFIFO | 0o600, 0);
    makeNodeAt(dir, bytes('socket'), S_IFSOCK | 0o600, 0);
    const entry = (name: string, type: number): object => ({ name, type, ino: lstatSync(path(name)).ino });
    const any = { name: Buffer.from(ANY_BYTES).toString('latin1'), type: 8 };
    expect(entriesOf(dir)).toMatchObject([
      any,
      entry('...', 8),
      entry('..b', 8),
      entry('.a', 8),
      entry('directory', 4),
      entry('fifo', 1),
      entry('link', 10),
      entry('socket', 12),
    ]);
  });

  test('begins at the first entry each time, also for an O_PATH descriptor', () => {
    expect(entriesOf(dir)).toEqual(entriesOf(dir));
    expect(entriesOf(open(path(), O_PATH))).toEqual(entriesOf(dir));
  });

  test('lists another directory inside the sink, and no listing leaves a descriptor open', () => {
    const before = readdirSync('/proc/self/fd').length;
    let inner = 0;
    const names: string[] = [];
    readDirectory(dir, (name) => {
      names.push(Buffer.from(name).toString('latin1'));
      readDirectory(dir, () => inner++);
    });
    expect(names.sort()).toEqual(entriesOf(dir).map(({ name }) => name));
    expect(inner).toBe(64);
    expect(() =>
      readDirectory(dir, () => {
        throw new Error('of the sink');
      }),
    ).toThrow('of the sink');
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  });

  test('lists 100,000 entries once each, with names that stay', () => {
    const many = directory('many');
    // links of a few files, because creating as many files takes long; ext4 permits 65,000 links of each
    for (const file of [0, 1, 2, 3]) {
      writeFileSync(many.path(`${file}`), '');
      for (let i = 1; i < 25_000; i++) {
        const name = `a long name of link ${i} to ${file}, so that one buffer does not have all`;
        expect(linkAt(many.dir, bytes(`${file}`), many.dir, bytes(name))).toBe(0);
      }
    }
    const names = new Set<string>();
    let count = 0;
    expect(
      readDirectory(many.dir, (name) => {
        count++;
        names.add(Buffer.from(name).toString());
      }),
    ).toBe(0);
    expect([count, names.size]).toEqual([100_000, 100_000]);
    // removing entries during the listing does not hide others
    count = 0;
    readDirectory(many.dir, (name) => {
      count++;
      unlinkAt(many.dir, name);
    });
    expect(count).toBe(100_000);
    expect(entriesOf(many.dir)).toEqual([]);
  }, 60_000);

  test('returns the error', () => {
    const sink = (): void => expect.unreachable();
    expect(readDirectory(open(path('.a')), sink)).toBe(ENOTDIR);
    expect(readDirectory(-1, sink)).toBe(EBADF);
    rmSync(path('directory'), { recursive: true });
    mkdirSync(path('removed'));
    const removed = open(path('removed'));
    rmSync(path('removed'), { recursive: true });
    expect(readDirectory(removed, sink)).toBe(ENOENT);
  });

  test.runIf(!isRoot)('lists no directory that the user may not read', () => {
    mkdirSync(path('closed'), 0o300);
    expect(readDirectory(open(path('closed'), O_PATH), () => expect.unreachable())).toBe(EACCES);
    chmodSync(path('closed'), 0o700);
  });
});

test('a file without a name has attributes as well', () => {
  const { dir } = directory('nameless');
  const fd = openNameless(dir, 0o600);
  opened.push(fd);
  expect(setTimesAt(fd, NONE, undefined, { low: 9, high: 0, nsec: 0 })).toBe(0);
  expect(chmodAt(fd, NONE, 0o751)).toBe(0);
  const status = emptyFileStatus();
  expect(statusOf(fd, status)).toBe(0);
  expect(status).toMatchObject({ mode: S_IFREG | 0o751, nlink: 0, mtimeLow: 9 });
});
