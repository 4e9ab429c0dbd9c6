/** The contract's part on writing: every change fails with EROFS, from the kernel and from the driver. */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compare } from '../../e2e/harness.ts';
import { mknod, removeXattr, setTime, setXattr } from '../libc.ts';
import { remount } from './calls.ts';
import { codeOf, type Subject } from './filesystem-subject.ts';

const { O_RDONLY, O_WRONLY, O_RDWR, O_TRUNC, O_APPEND, O_CREAT, O_EXCL, S_IFIFO } = constants;
/** Not among node's constants: the value of x86, arm64 and riscv64 differs in O_DIRECTORY, its second bit. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/**
 * Every kind of change in a tree of the `oddities`; each is tried separately.
 * @param opensUnasked if the kernel opens files by itself, the write must fail, not the open
 */
function writings(at: (path: string) => string, opensUnasked: boolean): Readonly<Record<string, () => unknown>> {
  const file = at('odd/types/regular');
  const directory = at('odd/types/directory');
  const fresh = at('odd/types/new');
  const opening = (path: string, flags: number) => (): void => {
    const fd = openSync(path, flags, 0o644);
    try {
      if (opensUnasked) writeSync(fd, 'x');
    } finally {
      closeSync(fd);
    }
  };
  return {
    'open for writing': opening(file, O_WRONLY),
    'open for reading and writing': opening(file, O_RDWR),
    'open for appending': opening(file, O_WRONLY | O_APPEND),
    'open and truncate': opening(file, O_WRONLY | O_TRUNC),
    'open to create what is there, for writing': opening(file, O_RDWR | O_CREAT),
    'create a file': opening(fresh, O_WRONLY | O_CREAT),
    'create a file exclusively': opening(fresh, O_RDWR | O_CREAT | O_EXCL),
    'create a file for reading': opening(fresh, O_RDONLY | O_CREAT),
    'make a directory': () => mkdirSync(fresh),
    'make a fifo': () => mknod(fresh, S_IFIFO | 0o600),
    'make a symbolic link': () => symlinkSync('target', fresh),
    'make a hard link': () => linkSync(file, fresh),
    unlink: () => unlinkSync(file),
    'remove a directory': () => rmdirSync(directory),
    rename: () => renameSync(file, fresh),
    'rename over a file': () => renameSync(file, at('odd/types/fifo')),
    'rename a directory': () => renameSync(directory, fresh),
    chmod: () => chmodSync(file, 0o600),
    'chmod of a directory': () => chmodSync(directory, 0o700),
    chown: () => chownSync(file, 1, 1),
    truncate: () => truncateSync(file, 3),
    'truncate to more': () => truncateSync(file, 1_000_000),
    utimes: () => utimesSync(file, 1, 1),
    'utimes of a link': () => setTime(at('odd/types/symlink'), 1, 1),
    setxattr: () => setXattr(file, 'user.new', Buffer.from('x')),
    'setxattr of what is there': () => setXattr(at('odd/xattrs/few'), 'user.comment', Buffer.from('x')),
    removexattr: () => removeXattr(at('odd/xattrs/few'), 'user.comment'),
  };
}

export function readOnlyTests({ all, driver }: Subject): void {
  const at = (path: string): string => join(all.mount, path);
  const refusals = (): Record<string, string> =>
    Object.fromEntries(Object.entries(writings(at, driver.opensUnasked)).map(([name, write]) => [name, codeOf(write)]));
  const EXPECTED = Object.fromEntries(Object.keys(writings(at, driver.opensUnasked)).map((name) => [name, 'EROFS']));

  describe('writing', () => {
    test('fails with EROFS, by any call', () => {
      expect(refusals()).toEqual(EXPECTED);
      expect(['EROFS', 'EOPNOTSUPP']).toContain(codeOf(() => openSync(at('odd'), O_RDWR | O_TMPFILE)));
    });

    test('fails with EROFS even if it was remounted writable', async () => {
      remount(all.mount, 'rw');
      try {
        expect(refusals()).toEqual(EXPECTED);
      } finally {
        remount(all.mount, 'ro');
      }
      const after = await compare(join(all.source, 'odd/types'), at('odd/types'), {
        ignore: driver.milliseconds ? ['mtimeNsec'] : [],
      });
      expect(after.differences).toEqual([]);
    });
  });
}
