/** An overlayfs over a mount: writing, and handles that outlive both mounts. */
import {
  appendFileSync,
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
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/errno.ts';
import { O_PATH } from '../../src/file-handle.ts';
import { type FileHandle, formatHandle } from '../../src/handle-format.ts';
import { getXattr } from '../../src/syscall.ts';
import { mknod } from '../libc.ts';
import { mountLoop, mountTmpfs, succeed } from './cli.ts';
import { closeAfterEach, closeHandles, handleOf, openedHandle, refusalOf } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { dropCaches, mountedAt } from './system.ts';

const scratch = useScratch();

/** index and nfs_export for handles, xino for inode numbers: Documentation/filesystems/overlayfs.rst. */
const FEATURES = ['index=on', 'nfs_export=on', 'xino=on'];
const UPPERS = { ext4: (path: string) => mountLoop(path, 'ext4', 64), tmpfs: (path: string) => mountTmpfs(path) };

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

/** One overlay and the mounts that it lies on. */
class Overlay {
  readonly at = scratch.directory('overlay');
  readonly lowers: readonly string[];
  readonly #upper: string;
  readonly #options: readonly string[];

  constructor(lowers: readonly string[], upper: string, options: readonly string[]) {
    this.lowers = lowers;
    this.#upper = upper;
    this.#options = options;
    for (const name of ['upper', 'work']) mkdirSync(join(upper, name), { recursive: true });
  }

  async mount(): Promise<void> {
    const { lowers } = this;
    const layers = {
      lowerdir: lowers.join(':'),
      upperdir: join(this.#upper, 'upper'),
      workdir: join(this.#upper, 'work'),
    };
    const words = [...Object.entries(layers).map(([key, value]) => `${key}=${value}`), ...this.#options];
    await succeed(['mount', '-t', 'overlay', 'overlay', '-o', words.join(','), this.at]);
  }

  async unmount(): Promise<void> {
    closeHandles();
    if (mountedAt(this.at) !== undefined) await succeed(['umount', this.at]);
  }

  /** What is on of the features: the kernel turns off what it cannot have, and mounts all the same. */
  features(): string[] {
    const table = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const options =
      table
        .find((line) => line.includes(` ${this.at} `))
        ?.split(' ')
        .at(-1) ?? '';
    return FEATURES.filter((feature) => options.split(',').includes(feature));
  }

  path(...names: readonly string[]): string {
    return join(this.at, ...names);
  }
}

const overlays: Overlay[] = [];
// the overlay goes before the mounts below it
afterEach(async () => {
  for (const overlay of overlays.splice(0)) await overlay.unmount();
});
closeAfterEach();

async function overlayOver(lowers: readonly string[], upper: string, options = FEATURES): Promise<Overlay> {
  const overlay = new Overlay(lowers, upper, options);
  overlays.push(overlay);
  await overlay.mount();
  return overlay;
}

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

  /** Mounts the overlay again, and the image below it, or another. */
  async function remountBoth(overlay: Overlay, image = images[0] as string): Promise<void> {
    await overlay.unmount();
    await mounted.unmount();
    mounted = await scratch.mount(image, { at: lower });
    await overlay.mount();
  }

  test('has all that handles need', async () => {
    expect((await start()).features()).toEqual(FEATURES);
  });

  test('shows the image, and what is written, renamed and removed over it', async () => {
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

  test('has inode numbers that are the stable ids, with its own mark in the highest bits', async () => {
    const overlay = await start();
    for (const name of ['kept', 'directory', 'link', 'fifo']) {
      const { ino } = lstatSync(overlay.path(name), { bigint: true });
      expect(ino & ((1n << 52n) - 1n)).toBe(BigInt(lstatSync(mounted.at(name)).ino));
    }
  });

  describe('has handles', () => {
    const UNTOUCHED = ['kept', 'directory', 'directory/below/file', 'link', 'fifo', 'changed in the image', '.'];
    const TOUCHED = ['appended', 'linked', 'renamed', 'new'];

    /** Handles from before anything was written and from after it. */
    async function prepare(): Promise<{ overlay: Overlay; handles: (readonly [name: string, FileHandle])[] }> {
      const overlay = await start();
      const take = (names: readonly string[]) => names.map((name) => [name, handleOf(overlay.path(name))] as const);
      const before = take([...UNTOUCHED, 'appended', 'linked', 'renamed', 'removed']);
      appendFileSync(overlay.path('appended'), ', and more');
      appendFileSync(overlay.path('linked'), ', and more');
      rmSync(overlay.path('removed'));
      writeFileSync(overlay.path('new'), 'new');
      renameSync(overlay.path('renamed'), overlay.path('directory/moved'));
      const moved = ['renamed', handleOf(overlay.path('directory/moved'))] as const;
      return { overlay, handles: [...before, ...take(TOUCHED.filter((name) => name !== 'renamed')), moved] };
    }

    function expectAllOpen(overlay: Overlay, handles: readonly (readonly [name: string, FileHandle])[]): void {
      for (const [name, handle] of handles) {
        if (name === 'removed') {
          expect(refusalOf(overlay.at, handle, O_PATH)).toBe('ESTALE');
          continue;
        }
        const fd = openedHandle(overlay.at, handle, O_PATH);
        const path = overlay.path(name === 'renamed' ? 'directory/moved' : name);
        const [opened, named] = [fd, path].map((what) => {
          const { ino, mode, size } =
            typeof what === 'number' ? fstatSync(what, { bigint: true }) : lstatSync(what, { bigint: true });
          return { name, ino, mode, size };
        });
        expect(opened).toEqual(named);
      }
    }

    test('that open after caches are dropped, and after the overlay is mounted again', async () => {
      const { overlay, handles } = await prepare();
      dropCaches();
      expectAllOpen(overlay, handles);
      await overlay.unmount();
      await overlay.mount();
      expectAllOpen(overlay, handles);
    });

    test('that open after both are mounted again, and hold the handle of the image', async () => {
      const { overlay, handles } = await prepare();
      const inside = formatHandle(handleOf(mounted.at('kept'))).slice('0x81:'.length);
      expect(formatHandle(handles[0]?.[1] as FileHandle)).toContain(inside);
      await remountBoth(overlay);
      expectAllOpen(overlay, handles);
      const fd = openedHandle(overlay.at, handles[0]?.[1] as FileHandle, 0);
      expect(readFileSync(fd, 'utf8')).toBe('kept of the image');
    });

    test('that open over the next version of the image where that has the same file', async () => {
      const overlay = await start();
      const names = ['kept', 'directory', 'link', 'changed in the image'];
      const handles = names.map((name) => handleOf(overlay.path(name)));
      await remountBoth(overlay, images[1]);
      // the root of every image has the same handle, so the overlay takes it for the layer that it knows
      expect(overlay.features()).toEqual(FEATURES);
      const outcomes = handles.map((handle) => refusalOf(overlay.at, handle, O_PATH).replace(/ .*/, ''));
      expect(outcomes).toEqual(['opened', 'opened', 'opened', 'ESTALE']);
      expect(text(overlay.path('changed in the image'))).toBe('version 2');
    });
  });

  test('without these options has no handles that open', async () => {
    const overlay = await start([]);
    expect(overlay.features()).toEqual([]);
    const { status } = await scratch.tool('cfs-info', ['handle', overlay.path('kept')]);
    expect(status).toBe(2);
  });
});

test('two mounts of images below one overlay cannot be told apart, so it turns the features off', async () => {
  const lowers = [];
  for (const image of images) lowers.push((await scratch.mount(image)).path);
  const overlay = await overlayOver(lowers, await mountTmpfs(scratch.at('upper-of-two')));
  expect(overlay.features()).toEqual(['xino=on']);
  expect(text(overlay.path('changed in the image'))).toBe('version 1');
  appendFileSync(overlay.path('appended'), '!');
  expect(text(overlay.path('appended'))).toBe('appended of the image!');
});

test('what is copied up keeps the handle of the image as its origin', async () => {
  const lower = await scratch.mount(images[0] as string);
  const upper = await mountTmpfs(scratch.at('upper-with-origin'));
  const overlay = await overlayOver([lower.path], upper);
  appendFileSync(overlay.path('kept'), '!');
  const origin = getXattr(join(upper, 'upper/kept'), 'trusted.overlay.origin');
  if (isErrno(origin)) throw new Error('there is no origin');
  const { bytes } = handleOf(lower.at('kept'));
  expect(Buffer.from(origin).includes(bytes)).toBe(true);
  // struct ovl_fb: version, magic, length, flags, type, uuid: that of a FUSE mount is 0
  expect(Buffer.from(origin).subarray(4, 21).toString('hex')).toBe(`81${'00'.repeat(16)}`);
  expect(readlinkSync(overlay.path('link'))).toBe('kept');
});
