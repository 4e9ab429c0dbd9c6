/** The umask of the process that serves a layer: that of a library's user has no effect on the files of a mount. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { PERMISSIONS, S_IFDIR, S_IFIFO } from '../../../src/base/stat-bits.ts';
import { ROOT_INO } from '../../../src/fs/filesystem.ts';
import { directory, treeOf } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { LayeredTree, writer } from './layered-fixture.ts';

const at = useScratch();
const before = process.umask();
afterEach(() => {
  process.umask(before);
});

const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };

test.each([0o077, 0o777])('files are made with the mode of the request, whatever the umask is: %o', (umask) => {
  const dir = at(`umask-${umask.toString(8)}`);
  const one = new LayeredTree(treeOf({ '/bin': directory }, { '/': { ...own, mode: 0o755 } }), dir);
  try {
    process.umask(umask);
    const requester = writer({ umask: 0o002 });
    const name = (text: string): Uint8Array => Buffer.from(text);
    const modes: Record<string, number> = {};
    const note = (text: string, result: unknown): void => {
      expect(result).toBe(0);
      modes[text] = one.out.mode & PERMISSIONS;
    };
    const content = one.fs.create(ROOT_INO, name('file'), 0o666, 2, requester, one.out);
    note('file', typeof content === 'number' ? content : 0);
    if (typeof content === 'object') one.fs.closeContent(content);
    note('dir', one.fs.mkdir(ROOT_INO, name('dir'), 0o777, requester, one.out));
    note('pipe', one.fs.mknod(ROOT_INO, name('pipe'), S_IFIFO | 0o660, 0, requester, one.out));
    expect(modes).toEqual({ file: 0o664, dir: 0o775, pipe: 0o660 });
    for (const [text, mode] of Object.entries(modes)) {
      expect(statSync(join(dir, 'u', text)).mode & PERMISSIONS, text).toBe(mode);
    }
    expect(statSync(join(dir, 'u/dir')).mode & S_IFDIR).toBe(S_IFDIR);
  } finally {
    one.close();
  }
});
