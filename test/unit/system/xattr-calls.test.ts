import {
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import {
  E2BIG,
  EBADF,
  EEXIST,
  EINVAL,
  ENAMETOOLONG,
  ENODATA,
  ENOENT,
  ENOTDIR,
  EOPNOTSUPP,
  EPERM,
  ERANGE,
  isErrno,
} from '../../../src/base/errno.ts';
import { encodeDevice, S_IFCHR, S_IFIFO, S_IFSOCK } from '../../../src/base/stat-bits.ts';
import { makeNodeAt } from '../../../src/system/directory-calls.ts';
import { O_PATH } from '../../../src/system/libc.ts';
import {
  getXattrByPath,
  listXattrsByPath,
  removeXattrByPath,
  setXattrByPath,
} from '../../../src/system/xattr-by-path.ts';
import {
  getXattrAt,
  listXattrsAt,
  removeXattrAt,
  setXattrAt,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../../src/system/xattr-calls.ts';
import { isRoot } from '../../support/root.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
const NONE: Uint8Array = Uint8Array.of();
const ANY_BYTES: Uint8Array = Uint8Array.from({ length: 255 }, (_, i) => (i + 1 === 0x2f ? 0x80 : i + 1));
const EVERY_BYTE: Uint8Array = Uint8Array.from({ length: 256 }, (_, i) => i);

/** Like `toEqual`, which takes seconds for 64 KiB. */
const holds = (result: Uint8Array | number, value: Uint8Array): boolean =>
  !isErrno(result) && Buffer.compare(result as Uint8Array, value) === 0;

const opened: number[] = [];
afterAll(() => {
  for (const fd of opened) closeSync(fd);
});

function open(path: string, flags: number = constants.O_RDONLY): number {
  const fd = openSync(path, flags);
  opened.push(fd);
  return fd;
}

const openNode = (path: string): number => open(path, O_PATH | constants.O_NOFOLLOW);

// tmpfs stores values of 64 KiB, ext4 only of one block; tmpfs has user.* since Linux 6.6
const memory = mkdtempSync('/dev/shm/cfs-test.');
afterAll(() => rmSync(memory, { recursive: true }));
const memoryDir = open(memory);
const memoryHasXattrs = setXattrAt(memoryDir, NONE, bytes('user.probe'), NONE, 0) === 0;

describe.each([
  { way: 'calls', get: getXattrAt, set: setXattrAt, remove: removeXattrAt, list: listXattrsAt },
  {
    way: 'path',
    get: getXattrByPath,
    set: setXattrByPath,
    remove: removeXattrByPath,
    list: listXattrsByPath,
  },
])('xattrs by $way', ({ way, get, set, remove, list }) => {
  mkdirSync(at(way));
  const dir = open(at(way));
  const namesOf = (fd: number, name: string | Uint8Array): string[] | number => {
    const names = list(fd, typeof name === 'string' ? bytes(name) : name);
    if (isErrno(names)) return names;
    const text = Buffer.from(names).toString('latin1');
    if (names.length > 0) expect(text.at(-1)).toBe('\0');
    // names of security modules are not from these tests
    return text
      .split('\0')
      .filter((xattr) => xattr !== '' && !xattr.startsWith('security.') && !xattr.startsWith('system.'))
      .sort();
  };

  test.each(['file', 'directory'])('sets, gets, lists and removes those of a %s', (name) => {
    if (name === 'file') writeFileSync(at(way, name), '');
    else mkdirSync(at(way, name));
    expect(namesOf(dir, name)).toEqual([]);
    expect(get(dir, bytes(name), bytes('user.a'))).toBe(ENODATA);
    expect(set(dir, bytes(name), bytes('user.a'), EVERY_BYTE, 0)).toBe(0);
    expect(set(dir, bytes(name), bytes('user.empty'), NONE, 0)).toBe(0);
    expect(get(dir, bytes(name), bytes('user.a'))).toEqual(EVERY_BYTE);
    expect(get(dir, bytes(name), bytes('user.empty'))).toEqual(NONE);
    expect(namesOf(dir, name)).toEqual(['user.a', 'user.empty']);
    expect(set(dir, bytes(name), bytes('user.a'), bytes('short'), 0)).toBe(0);
    expect(get(dir, bytes(name), bytes('user.a'))).toEqual(bytes('short'));
    expect(remove(dir, bytes(name), bytes('user.a'))).toBe(0);
    expect(remove(dir, bytes(name), bytes('user.a'))).toBe(ENODATA);
    expect(namesOf(dir, name)).toEqual(['user.empty']);
  });

  test('an empty name is the open file itself, also with O_PATH', () => {
    writeFileSync(at(way, 'opened'), '');
    for (const fd of [open(at(way, 'opened')), openNode(at(way, 'opened'))]) {
      expect(set(fd, NONE, bytes('user.b'), bytes('value'), XATTR_CREATE)).toBe(0);
      expect(set(fd, NONE, bytes('user.b'), bytes('value'), XATTR_CREATE)).toBe(EEXIST);
      expect(get(fd, NONE, bytes('user.b'))).toEqual(bytes('value'));
      expect(get(dir, bytes('opened'), bytes('user.b'))).toEqual(bytes('value'));
      expect(namesOf(fd, NONE)).toEqual(['user.b']);
      expect(remove(fd, NONE, bytes('user.b'))).toBe(0);
      expect(get(fd, NONE, bytes('user.b'))).toBe(ENODATA);
    }
  });

  test('with XATTR_CREATE and XATTR_REPLACE, only if the name is missing or exists', () => {
    const name = bytes('opened');
    expect(set(dir, name, bytes('user.c'), bytes('1'), XATTR_REPLACE)).toBe(ENODATA);
    expect(set(dir, name, bytes('user.c'), bytes('1'), XATTR_CREATE)).toBe(0);
    expect(set(dir, name, bytes('user.c'), bytes('2'), XATTR_CREATE)).toBe(EEXIST);
    expect(set(dir, name, bytes('user.c'), bytes('3'), XATTR_REPLACE)).toBe(0);
    expect(get(dir, name, bytes('user.c'))).toEqual(bytes('3'));
    expect(set(dir, name, bytes('user.c'), bytes('4'), 4)).toBe(EINVAL);
  });

  test('names of 255 bytes, of any bytes', () => {
    writeFileSync(Buffer.concat([Buffer.from(`${at(way)}/`), ANY_BYTES]), '');
    const xattr = Uint8Array.from(Buffer.concat([bytes('user.'), ANY_BYTES.subarray(5)]));
    expect(set(dir, ANY_BYTES, xattr, bytes('value'), 0)).toBe(0);
    expect(get(dir, ANY_BYTES, xattr)).toEqual(bytes('value'));
    expect(list(dir, ANY_BYTES)).toEqual(Uint8Array.from([...xattr, 0]));
    expect(remove(dir, ANY_BYTES, xattr)).toBe(0);
    const long = bytes(`user.${'x'.repeat(251)}`);
    expect([set(dir, ANY_BYTES, long, NONE, 0), get(dir, ANY_BYTES, long), remove(dir, ANY_BYTES, long)]).toEqual([
      ERANGE,
      ERANGE,
      ERANGE,
    ]);
    expect(set(dir, ANY_BYTES, NONE, NONE, 0)).toBe(ERANGE);
  });

  test('returns the error', () => {
    for (const name of [new Uint8Array(256).fill(0x61), new Uint8Array(9000).fill(0x61)]) {
      expect(get(dir, name, bytes('user.a'))).toBe(ENAMETOOLONG);
      expect(set(dir, name, bytes('user.a'), NONE, 0)).toBe(ENAMETOOLONG);
      expect(list(dir, name)).toBe(ENAMETOOLONG);
    }
    expect([get(dir, bytes('missing'), bytes('user.a')), list(dir, bytes('missing'))]).toEqual([ENOENT, ENOENT]);
    expect(remove(dir, bytes('missing'), bytes('user.a'))).toBe(ENOENT);
    expect(get(open(at(way, 'file')), bytes('in'), bytes('user.a'))).toBe(ENOTDIR);
    expect(set(dir, bytes('file'), bytes('nospace.a'), NONE, 0)).toBe(EOPNOTSUPP);
    for (const fd of [-1, 1_000_000]) {
      expect(get(fd, NONE, bytes('user.a'))).toBe(EBADF);
      expect(set(fd, NONE, bytes('user.a'), NONE, 0)).toBe(EBADF);
      expect(remove(fd, NONE, bytes('user.a'))).toBe(EBADF);
      expect(list(fd, NONE)).toBe(EBADF);
    }
  });

  test.runIf(memoryHasXattrs)('values of 64 KiB, and long lists', () => {
    mkdirSync(`${memory}/${way}`);
    const name = bytes(way);
    const value = Uint8Array.from({ length: 65536 }, (_, i) => (i * 7) % 256);
    for (const size of [1023, 1024, 1025, 65535, 65536]) {
      expect(set(memoryDir, name, bytes('user.large'), value.subarray(0, size), 0)).toBe(0);
      expect(holds(get(memoryDir, name, bytes('user.large')), value.subarray(0, size))).toBe(true);
    }
    expect(set(memoryDir, name, bytes('user.large'), new Uint8Array(65537), 0)).toBe(E2BIG);
    expect(holds(get(memoryDir, name, bytes('user.large')), value)).toBe(true);
    expect(remove(memoryDir, name, bytes('user.large'))).toBe(0);
    const xattrs = Array.from({ length: 40 }, (_, i) => `user.${'x'.repeat(200)}${i}`).sort();
    for (const xattr of xattrs) expect(set(memoryDir, name, bytes(xattr), NONE, 0)).toBe(0);
    expect(namesOf(memoryDir, name)).toEqual(xattrs);
  });

  describe.each(['link', 'dangling', 'fifo', 'socket', 'device', 'whiteout'])('of a %s', (name) => {
    const path = at(way, name);
    if (name === 'link') symlinkSync('file', path);
    if (name === 'dangling') symlinkSync('nowhere', path);
    if (name === 'fifo') makeNodeAt(dir, bytes(name), S_IFIFO | 0o600, 0);
    if (name === 'socket') makeNodeAt(dir, bytes(name), S_IFSOCK | 0o600, 0);
    if (name === 'device' && isRoot) makeNodeAt(dir, bytes(name), S_IFCHR | 0o600, encodeDevice(1, 3));
    if (name === 'whiteout') makeNodeAt(dir, bytes(name), S_IFCHR, 0);

    test.runIf(isRoot)('trusted ones, by name and by descriptor', () => {
      const fd = openNode(path);
      expect(set(dir, bytes(name), bytes('trusted.cfs.a'), bytes('1'), 0)).toBe(0);
      expect(set(fd, NONE, bytes('trusted.cfs.b'), bytes('2'), 0)).toBe(0);
      expect(get(fd, NONE, bytes('trusted.cfs.a'))).toEqual(bytes('1'));
      expect(get(dir, bytes(name), bytes('trusted.cfs.b'))).toEqual(bytes('2'));
      expect(namesOf(dir, name)).toEqual(['trusted.cfs.a', 'trusted.cfs.b']);
      expect(namesOf(fd, NONE)).toEqual(['trusted.cfs.a', 'trusted.cfs.b']);
      expect(remove(fd, NONE, bytes('trusted.cfs.a'))).toBe(0);
      expect(remove(dir, bytes(name), bytes('trusted.cfs.b'))).toBe(0);
      expect(namesOf(dir, name)).toEqual([]);
      // the target does not have it
      expect(namesOf(dir, 'file')).not.toContain('trusted.cfs.a');
    });

    // an ordinary user cannot create a device
    test.runIf(isRoot || name !== 'device')('none named user.*', () => {
      expect(set(dir, bytes(name), bytes('user.a'), NONE, 0)).toBe(EPERM);
      expect(set(openNode(path), NONE, bytes('user.a'), NONE, 0)).toBe(EPERM);
      // the answer of the kernel depends on its version
      expect([ENODATA, EPERM]).toContain(get(dir, bytes(name), bytes('user.a')));
      expect(namesOf(dir, name)).toEqual([]);
    });
  });

  test.runIf(!isRoot)('an ordinary user sets no trusted ones', () => {
    expect(set(dir, bytes('file'), bytes('trusted.cfs.a'), NONE, 0)).toBe(EPERM);
    expect(namesOf(dir, 'file')).toEqual(['user.empty']);
  });

  test('all names of a file show the same', () => {
    writeFileSync(at(way, 'one'), '');
    linkSync(at(way, 'one'), at(way, 'other'));
    expect(set(dir, bytes('one'), bytes('user.a'), bytes('1'), 0)).toBe(0);
    expect(get(dir, bytes('other'), bytes('user.a'))).toEqual(bytes('1'));
  });

  test('a value stays when the next one is read', () => {
    const first = get(dir, bytes('one'), bytes('user.a'));
    set(dir, bytes('one'), bytes('user.a'), bytes('2'), 0);
    get(dir, bytes('one'), bytes('user.a'));
    expect(first).toEqual(bytes('1'));
  });
});
