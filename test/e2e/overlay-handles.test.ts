/** An overlayfs over a mount: writing, and handles that outlive both mounts. */
import {
  appendFileSync,
  type BigIntStats,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { type FileHandle, formatHandle } from '../../src/base/handle-format.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import { mknod } from '../support/libc.ts';
import { mountTmpfs } from './cli.ts';
import { closeAfterEach, handleOf, openedHandle, refusalOf } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { kernelBefore, type Overlay, UPPERS, useOverlays } from './overlay.ts';
import { dropCaches } from './system.ts';

const scratch = useScratch();

/** index and nfs_export for handles, xino for inode numbers: Documentation/filesystems/overlayfs.rst. */
const FEATURES = ['index=on', 'nfs_export=on', 'xino=on'];

const FIFO = 0o010644;
const images: string[] = [];

function writeSource(source: string, version: 1 | 2): void {
  mkdirSync(join(source, 'directory/below'), { recursive: true });
  const write = (name: string, content: string): void => writeFileSync(join(source, name), content);
  for (const name of ['kept', 'appended', 'removed', 'renamed', 'directory/file', 'directory/below/file']) {
    write(name, `${name} of the image`);
  }
  write('changed in the image', `version ${version}`);
  write('linked', 'linked of the image');
  linkSync(join(source, 'linked'), join(source, 'directory/linked too'));
  symlinkSync('kept', join(source, 'link'));
  mknod(join(source, 'fifo'), FIFO);
}

beforeAll(async () => {
  for (const version of [1, 2] as const) {
    const source = scratch.directory('source');
    writeSource(source, version);
    images.push((await scratch.pack(source)).image);
  }
});

/** The inode to which a handle must lead. */
type Inode = Pick<BigIntStats, 'ino' | 'mode' | 'size'>;
/** The size of a directory depends on its layer, and is left out. */
const inodeOf = (stat: BigIntStats): Inode => ({
  ino: stat.ino,
  mode: stat.mode,
  size: stat.isDirectory() ? 0n : stat.size,
});

const mountOverlay = useOverlays(scratch);
closeAfterEach();

const overlayOver = (lowers: readonly string[], upper: string, options = FEATURES): Promise<Overlay> =>
  mountOverlay(lowers, upper, options);

/** The features that are on. */
const featuresOf = ({ options }: Overlay): string[] => FEATURES.filter((feature) => options.includes(feature));

const text = (path: string): string => readFileSync(path, 'utf8');

describe.each(Object.entries(UPPERS))('an overlay with its upper directory on %s', (type, makeUpper) => {
  const lower = scratch.at(`lower-${type}`);
  let upper: string;
  let mounted: Mounted;
  let counter = 0;

  beforeAll(async () => {
    mkdirSync(lower);
    upper = await makeUpper(scratch.at(`upper-${type}`));
  });

  const start = async (options = FEATURES): Promise<Overlay> => {
    mounted = await scratch.mount(images[0] as string, { at: lower });
    return overlayOver([lower], join(upper, String(counter++)), options);
  };

  /** Mounts the overlay again, with the same or another image below it. */
  async function remountBoth(overlay: Overlay, image = images[0] as string): Promise<void> {
    await overlay.unmount();
    await mounted.unmount();
    mounted = await scratch.mount(image, { at: lower });
    await overlay.mount();
  }

  test('has all that handles require', async () => {
    expect(featuresOf(await start())).toEqual(FEATURES);
  });

  test('shows the image, and files that are written, renamed and removed over it', async () => {
    const overlay = await start();
    appendFileSync(overlay.path('appended'), ', and more');
    rmSync(overlay.path('removed'));
    rmSync(overlay.path('directory/below'), { recursive: true });
    renameSync(overlay.path('renamed'), overlay.path('directory/moved'));
    writeFileSync(overlay.path('new'), 'new');
    for (let i = 0; i < 2; i++) {
      expect(readdirSync(overlay.at).sort()).toEqual(
        ['appended', 'changed in the image', 'directory', 'fifo', 'kept', 'link', 'linked', 'new'].sort(),
      );
      expect(readdirSync(overlay.path('directory')).sort()).toEqual(['file', 'linked too', 'moved']);
      expect(text(overlay.path('kept'))).toBe('kept of the image');
      expect(text(overlay.path('link'))).toBe('kept of the image');
      expect(text(overlay.path('appended'))).toBe('appended of the image, and more');
      expect(text(overlay.path('directory/moved'))).toBe('renamed of the image');
      await remountBoth(overlay);
    }
    // the image has not changed
    expect(text(mounted.at('appended'))).toBe('appended of the image');
    expect(text(mounted.at('removed'))).toBe('removed of the image');
  });

  /**
   * The overlay keeps the origin of a copied-up file as a dentry, which it gets by a handle. From Linux 6.16 on, such a
   * dentry of any FUSE file system counts as outdated, because its epoch is never set (fs/fuse/dir.c,
   * fuse_dentry_revalidate): from the second lookup on, the answer is ESTALE.
   */
  test.runIf(kernelBefore(6, 16))('shows copied-up files again and again, after both are mounted again', async () => {
    const overlay = await start();
    appendFileSync(overlay.path('appended'), ', and more');
    await remountBoth(overlay);
    for (let i = 0; i < 3; i++) expect(text(overlay.path('appended'))).toBe('appended of the image, and more');
  });

  test('shows it with the options that an overlay has by default', async () => {
    const overlay = await start([]);
    appendFileSync(overlay.path('appended'), ', and more');
    await remountBoth(overlay);
    for (let i = 0; i < 3; i++) expect(text(overlay.path('appended'))).toBe('appended of the image, and more');
  });

  test('keeps hard links together when one is written, and inode numbers', async () => {
    const overlay = await start();
    const before = lstatSync(overlay.path('linked'), { bigint: true });
    appendFileSync(overlay.path('directory/linked too'), '!');
    for (let i = 0; i < 2; i++) {
      for (const name of ['linked', 'directory/linked too']) {
        const { ino, nlink } = lstatSync(overlay.path(name), { bigint: true });
        expect({ name, ino, nlink }).toEqual({ name, ino: before.ino, nlink: 2n });
        expect(text(overlay.path(name))).toBe('linked of the image!');
      }
      await remountBoth(overlay);
    }
  });

  test('has the stable ids as inode numbers, with its own mark in the highest bits', async () => {
    const overlay = await start();
    for (const name of ['kept', 'directory', 'link', 'fifo']) {
      const { ino } = lstatSync(overlay.path(name), { bigint: true });
      expect(ino & ((1n << 52n) - 1n)).toBe(BigInt(lstatSync(mounted.at(name)).ino));
    }
  });

  describe('has handles', () => {
    const UNTOUCHED = ['kept', 'directory', 'directory/below/file', 'link', 'fifo', 'changed in the image', '.'];

    interface Taken {
      readonly name: string;
      readonly handle: FileHandle;
      /** Undefined if the file was removed later. */
      readonly inode: Inode | undefined;
    }

    const take = (overlay: Overlay, name: string, path = name): Taken => {
      const absolute = overlay.path(path);
      return { name, handle: handleOf(absolute), inode: inodeOf(lstatSync(absolute, { bigint: true })) };
    };

    /** Takes handles before and after all changes. */
    async function prepare(): Promise<{ overlay: Overlay; taken: Taken[] }> {
      const overlay = await start();
      const untouched = UNTOUCHED.map((name) => take(overlay, name));
      const before = ['appended', 'linked', 'renamed'].map((name) => take(overlay, name));
      const removed = { ...take(overlay, 'removed'), inode: undefined };
      appendFileSync(overlay.path('appended'), ', and more');
      appendFileSync(overlay.path('linked'), ', and more');
      rmSync(overlay.path('removed'));
      renameSync(overlay.path('renamed'), overlay.path('directory/moved'));
      writeFileSync(overlay.path('new'), 'new');
      const after = [
        ...['appended', 'linked', 'new'].map((name) => take(overlay, name)),
        take(overlay, 'renamed', 'directory/moved'),
      ];
      // a handle of a file from before it was written opens it in its present state
      const now = (earlier: Taken): Taken => ({
        ...earlier,
        inode: after.find(({ name }) => name === earlier.name)?.inode,
      });
      return { overlay, taken: [...untouched, ...before.map(now), removed, ...after] };
    }

    function expectAllOpen(overlay: Overlay, taken: readonly Taken[]): void {
      for (const { name, handle, inode } of taken) {
        if (inode === undefined) expect(refusalOf(overlay.at, handle, O_PATH)).toBe('ESTALE');
        else {
          const opened = inodeOf(fstatSync(openedHandle(overlay.at, handle, O_PATH), { bigint: true }));
          expect({ name, ...opened }).toEqual({ name, ...inode });
        }
      }
    }

    test('that open after caches are dropped, and after the overlay is mounted again', async () => {
      const { overlay, taken } = await prepare();
      dropCaches();
      expectAllOpen(overlay, taken);
      await overlay.unmount();
      await overlay.mount();
      expectAllOpen(overlay, taken);
    });

    test('that open after both are mounted again, and hold the handle of the image', async () => {
      const { overlay, taken } = await prepare();
      const [kept] = taken as [Taken];
      const inside = formatHandle(handleOf(mounted.at(kept.name))).slice('0x81:'.length);
      expect(formatHandle(kept.handle)).toContain(inside);
      await remountBoth(overlay);
      expectAllOpen(overlay, taken);
      const fd = openedHandle(overlay.at, kept.handle, 0);
      expect(readFileSync(fd, 'utf8')).toBe('kept of the image');
    });

    test('that open over the next version of the image if that has the same file', async () => {
      const overlay = await start();
      const names = ['kept', 'directory', 'link', 'changed in the image'];
      const handles = names.map((name) => handleOf(overlay.path(name)));
      await remountBoth(overlay, images[1]);
      // the root of every image has the same handle, so the overlay does not notice the other layer
      expect(featuresOf(overlay)).toEqual(FEATURES);
      const outcomes = handles.map((handle) => refusalOf(overlay.at, handle, O_PATH).replace(/ .*/, ''));
      expect(outcomes).toEqual(['opened', 'opened', 'opened', 'ESTALE']);
      expect(text(overlay.path('changed in the image'))).toBe('version 2');
    });
  });

  test('without these options has no handles that open', async () => {
    const overlay = await start([]);
    expect(featuresOf(overlay)).toEqual([]);
    const { status } = await scratch.tool('cfs-info', ['handle', overlay.path('kept')]);
    expect(status).toBe(2);
  });
});

test('two mounts of images below one overlay cannot be distinguished, so it turns the features off', async () => {
  const lowers = [];
  for (const image of images) lowers.push((await scratch.mount(image)).path);
  const overlay = await overlayOver(lowers, await mountTmpfs(scratch.at('upper-of-two')));
  expect(featuresOf(overlay)).toEqual(['xino=on']);
  expect(text(overlay.path('changed in the image'))).toBe('version 1');
  appendFileSync(overlay.path('appended'), '!');
  expect(text(overlay.path('appended'))).toBe('appended of the image!');
});

test('a copied-up file keeps the handle of the image as its origin', async () => {
  const lower = await scratch.mount(images[0] as string);
  const upper = await mountTmpfs(scratch.at('upper-with-origin'));
  const overlay = await overlayOver([lower.path], upper);
  appendFileSync(overlay.path('kept'), '!');
  const origin = getXattr(join(upper, 'upper/kept'), 'trusted.overlay.origin');
  if (isErrno(origin)) throw new Error('there is no origin');
  const { bytes } = handleOf(lower.at('kept'));
  expect(Buffer.from(origin).includes(Buffer.from(bytes))).toBe(true);
  // struct ovl_fb: version, magic, length, flags, type, uuid: that of a FUSE mount is 0
  expect(Buffer.from(origin).subarray(4, 21).toString('hex')).toBe(`81${'00'.repeat(16)}`);
  expect(readlinkSync(overlay.path('link'))).toBe('kept');
});
