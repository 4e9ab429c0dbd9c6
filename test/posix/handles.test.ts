/**
 * Handles of files that were made, changed, renamed, linked and removed: each must open its file until the last name
 * and the last descriptor are gone, also after drop_caches and another mount; as the tests of handles in xfstests.
 */
import {
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FileHandle } from '../../src/base/handle-format.ts';
import { closeHandles, handleOf, handleOfFd, openedHandle, refusalOf } from '../e2e/handle-calls.ts';
import { useScratch } from '../e2e/harness.ts';
import { until } from '../e2e/system.ts';
import * as calls from './calls.ts';
import { makeAny, ok, readAt, TYPES } from './cases.ts';
import { MAKE_SITE, overlayWith, type Site, TESTED } from './sites.ts';

const scratch = useScratch();

/** Without nfs_export overlayfs has no handles, and with it no metacopy. */
const makers = { ...MAKE_SITE, overlayfs: overlayWith(['redirect_dir=on', 'index=on', 'nfs_export=on']) };

/** Makes the kernel forget dentries and inodes. Pages stay: to drop those of the whole machine takes long. */
const dropInodes = (): void => writeFileSync('/proc/sys/vm/drop_caches', '2');

function makeLower(): string {
  const lower = scratch.directory('lower');
  mkdirSync(join(lower, 'dir/sub'), { recursive: true });
  for (const type of TYPES) makeAny(type, join(lower, `old ${type}`));
  for (const name of ['file', 'dir/file', 'dir/sub/file', 'linked', 'gone', 'written']) {
    writeFileSync(join(lower, name), `${name} of the lower layer`);
  }
  linkSync(join(lower, 'linked'), join(lower, 'dir/linked too'));
  return lower;
}

describe.each(TESTED)('on %s', (name) => {
  let site: Site;
  const at = (...names: string[]): string => join(site.root, ...names);

  beforeEach(async () => {
    site = await makers[name](scratch, makeLower());
  });
  afterEach(async () => {
    closeHandles();
    calls.closeLeft();
    await site.end();
  });

  /** Opens the handle, and expects that it is the file `path`. Returns the descriptor. */
  function expectOpens(handle: FileHandle, path: string): number {
    const status = lstatSync(path);
    const flags = status.isFile() || status.isDirectory() ? calls.O_RDONLY : calls.O_PATH;
    const fd = openedHandle(site.root, handle, flags);
    const { ino, mode, uid, size, nlink } = fstatSync(fd);
    expect({ ino, mode, uid, nlink }).toEqual({
      ino: status.ino,
      mode: status.mode,
      uid: status.uid,
      nlink: status.nlink,
    });
    if (status.isFile()) expect(readAt(fd, size, 0).equals(readFileSync(path))).toBe(true);
    if (status.isDirectory()) expect(readdirSync(`/proc/self/fd/${fd}`).sort()).toEqual(readdirSync(path).sort());
    expect(handleOf(path)).toEqual(handle);
    return fd;
  }

  /** Looks at once, without the kernel's caches, and after another mount. */
  async function everAfter(look: () => void): Promise<void> {
    for (const prepare of [() => {}, dropInodes, () => site.remount()]) {
      closeHandles();
      await prepare();
      look();
    }
  }

  test.each(TYPES)('of a new %s, of one of the lower layer, and of one whose owner was changed', async (type) => {
    const old = handleOf(at(`old ${type}`));
    makeAny(type, at('new'));
    const handle = handleOf(at('new'));
    expect(handle).not.toEqual(old);
    expectOpens(handle, at('new'));
    await everAfter(() => {
      expectOpens(handle, at('new'));
      expectOpens(old, at(`old ${type}`));
    });
    ok(calls.lchown(at('new'), 11, 12));
    ok(calls.lchown(at(`old ${type}`), 11, 12));
    await everAfter(() => {
      expectOpens(handle, at('new'));
      expectOpens(old, at(`old ${type}`));
    });
  });

  test('of a file of the lower layer that is written, renamed, linked, and loses its first name', async () => {
    const handle = handleOf(at('file'));
    const { ino } = lstatSync(at('file'));
    let path = at('file');
    const expectSame = (): void => {
      expectOpens(handle, path);
      expect(lstatSync(path).ino).toBe(ino);
    };
    writeFileSync(path, 'written');
    await everAfter(expectSame);
    ok(calls.rename(path, at('dir/renamed')));
    path = at('dir/renamed');
    await everAfter(expectSame);
    ok(calls.link(path, at('dir/sub/linked')));
    ok(calls.unlink(path));
    path = at('dir/sub/linked');
    await everAfter(expectSame);
    ok(calls.rename(at('dir'), at('moved')));
    path = at('moved/sub/linked');
    await everAfter(expectSame);
  });

  test('of hard links: one handle, whichever name is left', async () => {
    const handle = handleOf(at('linked'));
    expect(handleOf(at('dir/linked too'))).toEqual(handle);
    writeFileSync(at('dir/linked too'), 'written by the other name');
    await everAfter(() => expectOpens(handle, at('linked')));
    ok(calls.unlink(at('linked')));
    await everAfter(() => expectOpens(handle, at('dir/linked too')));
  });

  test('of directories that get files, and are renamed: listing and path', async () => {
    const handle = handleOf(at('dir'));
    const inner = handleOf(at('dir/sub'));
    writeFileSync(at('dir/sub/new'), 'new');
    await everAfter(() => expectOpens(handle, at('dir')));
    ok(calls.rename(at('dir'), at('renamed')));
    ok(calls.mkdir(at('new'), 0o755));
    ok(calls.rename(at('renamed/sub'), at('new/sub')));
    await everAfter(() => {
      expectOpens(handle, at('renamed'));
      const fd = expectOpens(inner, at('new/sub'));
      expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(at('new/sub'));
    });
  });

  test.each(['gone', 'written', 'new'])('of a file without a name, until it is closed (%s)', async (path) => {
    if (path !== 'gone') writeFileSync(at(path), 'content');
    const handle = handleOf(at(path));
    const fd = ok(calls.open(at(path), calls.O_RDWR));
    ok(calls.unlink(at(path)));
    const again = openedHandle(site.root, handle, calls.O_RDWR);
    expect(calls.pwrite(again, Buffer.from('X'), 0)).toBe(1);
    expect(readAt(again, 1, 0).toString()).toBe('X');
    expect(fstatSync(again).nlink).toBe(0);
    closeHandles();
    dropInodes();
    const third = openedHandle(site.root, handle, calls.O_RDONLY);
    expect(readAt(third, 1, 0).toString()).toBe('X');
    closeHandles();
    ok(calls.close(fd));
    // FUSE tells the file system a moment later that nothing refers to the file any more
    await until('the handle is refused', () => {
      const refusal = refusalOf(site.root, handle, calls.O_RDONLY);
      closeHandles();
      return refusal === 'ESTALE';
    });
    writeFileSync(at(path), 'another');
    expect(handleOf(at(path))).not.toEqual(handle);
    await everAfter(() => expect(refusalOf(site.root, handle, calls.O_RDONLY)).toBe('ESTALE'));
  });

  test('of a file of O_TMPFILE, before and after it has a name', async () => {
    const fd = ok(calls.open(site.root, calls.O_TMPFILE | calls.O_RDWR, 0o644));
    const handle = handleOfFd(fd);
    ok(calls.linkDescriptor(fd, at('named')));
    ok(calls.close(fd));
    await everAfter(() => expectOpens(handle, at('named')));
  });

  test('of many files, all at once, after another mount', async () => {
    const handles = new Map<string, FileHandle>();
    for (let i = 0; i < 300; i++) {
      const path = `many/${i % 7}/file${i}`;
      mkdirSync(at(`many/${i % 7}`), { recursive: true });
      writeFileSync(at(path), path);
      handles.set(path, handleOf(at(path)));
    }
    await everAfter(() => {
      for (const [path, handle] of handles) {
        expectOpens(handle, at(path));
        closeHandles();
      }
    });
  });
});
