/** The contract's part on the tree: names, directories, links, attributes. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { exactUtf8 } from '../../../src/base/bytes.ts';
import { ENODATA, ERANGE } from '../../../src/base/errno.ts';
import { compare } from '../../e2e/harness.ts';
import { getXattrInto, listXattrsInto, readAllEntries, readEntries, seekTo } from './calls.ts';
import { codeOf, HUGE_ENTRIES, type Subject } from './filesystem-subject.ts';

const FUSE_SUPER_MAGIC = 0x65735546;

function withDirectory<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

export function metadataTests(subject: Subject): void {
  const { driver, all, plain } = subject;
  const inSource = (path: string): string => join(all.source, path);
  const inMount = (path: string): string => join(all.mount, path);

  test('equals the source, field by field and byte by byte', async () => {
    const result = await compare(all.source, all.mount, {
      ignore: driver.milliseconds ? ['mtimeNsec'] : [],
      skipNonUtf8: driver.utf8Only,
    });
    const before1970 = ({ path, field }: { path: string; field: string }): boolean =>
      driver.milliseconds && field === 'mtime' && /^\/odd\/times\/(?:directory)?-/.test(path);
    expect(result.differences.filter((difference) => !before1970(difference))).toEqual([]);
    expect(result.differenceCount).toBe(result.differences.length);
    expect(result.entries).toBeGreaterThan(3800);
    expect(result.files).toBeGreaterThan(3500);
    if (driver.utf8Only) expect(result.skipped).toBe(15);
  });

  describe('a name', () => {
    test('that does not exist is ENOENT, every time, also beside existing names', () => {
      for (const name of ['nothing', 'odd/nothing', 'odd/name', 'odd/namess', 'ODD', 'odd/names/\u0001']) {
        for (let i = 0; i < 3; i++)
          expect(
            codeOf(() => lstatSync(inMount(name))),
            name,
          ).toBe('ENOENT');
      }
      expect(lstatSync(inMount('odd/names')).isDirectory()).toBe(true);
    });

    test('below a file is ENOTDIR', () => {
      expect(codeOf(() => lstatSync(inMount('odd/types/regular/x')))).toBe('ENOTDIR');
      expect(codeOf(() => lstatSync(inMount('odd/types/regular/')))).toBe('ENOTDIR');
    });

    test('of more than 255 bytes, the limit that statfs reports, is ENAMETOOLONG', () => {
      expect(codeOf(() => lstatSync(inMount(`odd/${'n'.repeat(256)}`)))).toBe('ENAMETOOLONG');
    });

    test('can be every byte string, and is looked up without a listing before', () => {
      const names = readdirSync(inSource('odd/names'), { encoding: 'buffer' });
      expect(names.length).toBeGreaterThan(50);
      for (const name of names) {
        const path = Buffer.concat([Buffer.from(`${inMount('odd/names')}/`), name]);
        const text = exactUtf8(name);
        if (text === undefined && driver.utf8Only) expect(codeOf(() => lstatSync(path))).toBe('EILSEQ');
        else expect(readFileSync(path)).toEqual(Buffer.concat([Buffer.from('named '), name]));
      }
    });
  });

  describe('a directory', () => {
    const sourceNames = (path: string): string[] => ['.', '..', ...readdirSync(inSource(path))].sort();

    test.each([48, 280, 1024, 65_536])('lists each entry once when it is read in pieces of %d bytes', (size) => {
      withDirectory(inMount('huge'), (fd) => {
        // the second time the kernel may have it in its cache
        for (let pass = 0; pass < 2; pass++) {
          const entries = readAllEntries(fd, size);
          expect(entries).toHaveLength(HUGE_ENTRIES + 2);
          expect(entries.map(({ name }) => name.toString()).sort()).toEqual(sourceNames('huge'));
          seekTo(fd, 0n);
        }
      });
    });

    test('continues after any entry, as telldir and seekdir require', () => {
      withDirectory(inMount('huge'), (fd) => {
        const entries = readAllEntries(fd, 4096);
        for (const index of [0, 1, 2, 3, 77, 1500, HUGE_ENTRIES - 1, HUGE_ENTRIES, HUGE_ENTRIES + 1]) {
          seekTo(fd, entries[index]?.offset as bigint);
          const rest = readAllEntries(fd, 1024).map(({ name }) => name.toString());
          expect(rest, `after entry ${index}`).toEqual(entries.slice(index + 1).map(({ name }) => name.toString()));
        }
      });
    });

    test('stays at its end, however often it is read', () => {
      withDirectory(inMount('odd'), (fd) => {
        readAllEntries(fd, 4096);
        for (let i = 0; i < 3; i++) expect(readEntries(fd, 4096)).toEqual([]);
      });
    });

    test.each(['', 'odd', 'odd/types', 'odd/links', 'tree'])(
      'reports the inode and type of each entry of /%s',
      (path) => {
        const entries = withDirectory(inMount(path), (fd) => readAllEntries(fd, 65_536));
        for (const { name, ino, type } of entries) {
          const above = path === '' && name.toString() === '..';
          // the mount's root is its own parent in its directory; for a path the kernel leads out of it
          const stats = lstatSync(above ? all.mount : `${inMount(path)}/${name}`);
          expect([name.toString(), ino]).toEqual([name.toString(), stats.ino]);
          expect(type).toBe(stats.mode >>> 12);
        }
      },
    );

    test('has the directory above as "..", down a path of 200 directories', () => {
      let path = inMount('deep');
      for (let level = 1; level <= 200; level++) {
        const { ino } = statSync(path);
        path += `/l${level % 10}`;
        expect(statSync(`${path}/..`).ino).toBe(ino);
      }
      expect(realpathSync(`${path}/${'../'.repeat(200)}`)).toBe(realpathSync(inMount('deep')));
      expect(readFileSync(`${path}/bottom`, 'utf8')).toBe('the bottom\n');
    });

    test('is a working directory that knows its path', () => {
      const script = 'cd "$1" && cd tree && cd ../odd/links && pwd -P && ls | wc -l';
      const [path, count] = execFileSync('sh', ['-c', script, 'sh', all.mount], { encoding: 'utf8' }).split('\n');
      expect(path).toBe(inMount('odd/links'));
      expect(Number(count)).toBe(readdirSync(inSource('odd/links')).length);
    });
  });

  describe('a symbolic link', () => {
    const LINKS = ['symlink', 'dangling', 'self', 'absolute', 'up', 'directory', 'longest', 'a/symlink'];

    test.each(LINKS)('returns its target exactly: odd/links/%s', (name) => {
      const target = readlinkSync(inSource(`odd/links/${name}`), { encoding: 'buffer' });
      expect(readlinkSync(inMount(`odd/links/${name}`), { encoding: 'buffer' })).toEqual(target);
      expect(lstatSync(inMount(`odd/links/${name}`)).size).toBe(target.length);
    });

    test('is followed by the kernel', () => {
      expect(readFileSync(inMount('odd/links/symlink'), 'utf8')).toBe('three names\n');
      expect(statSync(inMount('odd/links/directory/second')).ino).toBe(statSync(inMount('odd/links/third')).ino);
      expect(codeOf(() => statSync(inMount('odd/links/dangling')))).toBe('ENOENT');
      expect(codeOf(() => statSync(inMount('odd/links/self')))).toBe('ELOOP');
    });

    test('supports no operation of files or directories', () => {
      expect(codeOf(() => readlinkSync(inMount('odd/types/regular')))).toBe('EINVAL');
      expect(codeOf(() => readlinkSync(inMount('odd')))).toBe('EINVAL');
      expect(codeOf(() => openSync(inMount('odd/links/symlink'), constants.O_NOFOLLOW))).toBe('ELOOP');
    });
  });

  test('hard links are one inode with the number of its names, and other files are separate inodes', () => {
    const inode = (path: string): number[] => [lstatSync(inMount(path)).ino, lstatSync(inMount(path)).nlink];
    const first = inode('odd/links/b/first');
    expect(first[1]).toBe(3);
    expect(inode('odd/links/a/second')).toEqual(first);
    expect(inode('odd/links/third')).toEqual(first);
    expect(inode('odd/links/fifo')).toEqual(inode('odd/links/a/fifo'));
    expect(inode('odd/links/symlink')).toEqual(inode('odd/links/a/symlink'));
    const names = readdirSync(inMount('huge'));
    expect(new Set(names.map((name) => lstatSync(inMount(`huge/${name}`)).ino)).size).toBe(HUGE_ENTRIES);
  });

  describe('extended attributes', () => {
    test('are listed and read as by getfattr', () => {
      const dump = (cwd: string): string =>
        execFileSync('getfattr', ['-hRd', '-m', '-', '-e', 'hex', 'odd/xattrs', 'odd/types'], {
          cwd,
          encoding: 'utf8',
        });
      const sections = (cwd: string): string[] => dump(cwd).split('\n\n').sort();
      expect(sections(all.mount)).toEqual(sections(all.source));
    });

    test('are ENODATA if there is no such name', () => {
      expect(getXattrInto(inMount('odd/xattrs/few'), 'user.none', 100)).toBe(ENODATA);
      expect(getXattrInto(inMount('odd/types/regular'), 'user.none', 0)).toBe(ENODATA);
      expect(listXattrsInto(inMount('odd/types/regular'), 0)).toBe(0);
    });

    test('report their length, and are ERANGE if the buffer is too small', () => {
      const large = inMount('odd/xattrs/large');
      expect(getXattrInto(large, 'user.large', 0)).toBe(1500);
      expect(getXattrInto(large, 'user.large', 1499)).toBe(ERANGE);
      expect(getXattrInto(large, 'user.large', 1500)).toBe(1500);
      const few = inMount('odd/xattrs/few');
      expect(getXattrInto(few, 'user.empty', 0)).toBe(0);
      expect(getXattrInto(few, 'user.empty', 10)).toBe(0);
      const length = listXattrsInto(few, 0);
      expect(length).toBe('user.comment\0user.empty\0'.length);
      expect(listXattrsInto(few, length - 1)).toBe(ERANGE);
      expect(listXattrsInto(few, length)).toBe(length);
    });

    test('are absent in an image without any', () => {
      const file = join(plain.mount, 'file');
      for (let i = 0; i < 2; i++) {
        for (const name of ['user.none', 'security.capability']) expect(getXattrInto(file, name, 0)).toBe(ENODATA);
        expect(listXattrsInto(file, 0)).toBe(0);
        expect(listXattrsInto(file, 100)).toBe(0);
      }
      expect(execFileSync('ls', ['-l', file], { encoding: 'utf8' })).toMatch(/^-rw-r--r-- 1 /);
    });
  });

  test('statfs reports a FUSE file system that is full', () => {
    const statistics = statfsSync(all.mount);
    expect(statistics.type).toBe(FUSE_SUPER_MAGIC);
    expect(statistics.bsize).toBe(4096);
    expect([statistics.bfree, statistics.bavail, statistics.ffree]).toEqual([0, 0, 0]);
    expect(statistics.blocks * 4096).toBeGreaterThan(5_000_000);
    expect(statistics.files).toBeGreaterThan(3500);
    expect(execFileSync('stat', ['-f', '-c', '%l', all.mount], { encoding: 'utf8' })).toBe('255\n');
  });
}
