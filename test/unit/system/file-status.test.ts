import { lstatSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ENOENT, ENOTDIR } from '../../../src/base/errno.ts';
import { fileIdentity } from '../../../src/base/file-identity.ts';
import { emptyFileVersion, fileVersion } from '../../../src/system/file-status.ts';
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
    'gives for %s what lstat gives, so that both can be compared',
    (name) => {
      const path = name.startsWith('/') ? name : at(name);
      const out = emptyFileVersion();
      expect(fileVersion(native(path), out)).toBe(0);
      const expected = lstatSync(path);
      // /proc makes new times at each look
      if (!path.startsWith('/proc')) expect(out.ctimeMs).toBe(expected.ctimeMs);
      expect([out.isFile, out.size, out.ino]).toEqual([expected.isFile(), expected.size, expected.ino]);
      expect(fileIdentity(out)).toBe(fileIdentity(expected));
    },
  );

  test('gives the error of what is not there', () => {
    expect(fileVersion(native(at('missing')), emptyFileVersion())).toBe(ENOENT);
    expect(fileVersion(native(at('file/in')), emptyFileVersion())).toBe(ENOTDIR);
  });
});
