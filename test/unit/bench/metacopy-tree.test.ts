import { expect, test } from 'vitest';
import { parseDump, xattrText } from '../../../bench/metacopy-tree.ts';

const DUMP = `/ 0 40755 3 0 0 0 0.0 - - -
/f 5000 100644 2 0 0 0 1.500000 8e/2d1b - 8e2d1b user.a=b
/in 4 104755 1 0 0 0 0.0 - a\\x20b\\n -
/sparse 8192 100644 1 0 0 0 0.0 - - -
/hl 0 @100644 1 0 0 0 0.0 /f - -
/l 1 120777 1 0 0 0 0.0 f - -
/a\\x20b\\\\\\xc3 7 100600 1 0 0 0 2.0 aa/bb - -`;

test('parseDump() finds regular files, their objects, contents in the image and holes', () => {
  expect([...parseDump(DUMP)]).toEqual([
    { path: 'f', size: 5000, mtime: 1.0005, object: '8e/2d1b' },
    { path: 'in', size: 4, mtime: 0, object: 'inline' },
    { path: 'sparse', size: 8192, mtime: 0, object: 'hole' },
    { path: 'a b\\\xc3', size: 7, mtime: 2, object: 'aa/bb' },
  ]);
});

test('xattrText() escapes paths for setfattr', () => {
  expect(xattrText('/d/a b\\\xc3', 'aa/bb')).toBe(
    '# file: /d/a\\040b\\134\\303\ntrusted.overlay.metacopy=""\ntrusted.overlay.redirect="/aa/bb"\n\n',
  );
});
