import { closeSync, lstatSync, mkdirSync, openSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { EBADF, ENOENT, ENOTDIR } from '../../../src/base/errno.ts';
import { fileIdentity } from '../../../src/base/file-identity.ts';
import { emptyFileVersion, fileVersion, fileVersionOf } from '../../../src/system/file-status.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const native = (path: string): Buffer => Buffer.from(`${path}\0`);

describe('fileVersion()', () => {
  writeFileSync(at('file'), 'some content');
  writeFileSync(at('empty'), '');
  mkdirSync(at('directory'));
  symlinkSync('file', at('link'));
  utimesSync(at('file'), 1, 1);

  test.each(['file', 'empty', 'directory', 'link', '/', '/dev/null', '/proc/self/stat'])(
    'returns for %s the same as lstat, so that both can be compared',
    (name) => {
      const path = name.startsWith('/') ? name : at(name);
      const out = emptyFileVersion();
      expect(fileVersion(native(path), out)).toBe(0);
      const expected = lstatSync(path);
      // /proc has new times at each stat
      if (!path.startsWith('/proc')) expect(out.ctimeMs).toBe(expected.ctimeMs);
      expect([out.isFile, out.size, out.ino]).toEqual([expected.isFile(), expected.size, expected.ino]);
      expect(fileIdentity(out)).toBe(fileIdentity(expected));
    },
  );

  test.each(['file', 'directory', '/dev/null'])('returns the same for an open descriptor of %s', (name) => {
    const path = name.startsWith('/') ? name : at(name);
    const [named, opened] = [emptyFileVersion(), emptyFileVersion()];
    const fd = openSync(path, 'r');
    expect([fileVersion(native(path), named), fileVersionOf(fd, opened)]).toEqual([0, 0]);
    closeSync(fd);
    expect(opened).toEqual(named);
    expect(fileVersionOf(-1, opened)).toBe(EBADF);
  });

  test('returns the error for a missing file', () => {
    expect(fileVersion(native(at('missing')), emptyFileVersion())).toBe(ENOENT);
    expect(fileVersion(native(at('file/in')), emptyFileVersion())).toBe(ENOTDIR);
  });
});
