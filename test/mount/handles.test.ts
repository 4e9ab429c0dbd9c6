/** File handles: what name_to_handle_at(2) gave for a file opens that file in every later mount of it. */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Errno, errnoName, isErrno } from '../../src/errno.ts';
import { nameToHandle, O_PATH, openByHandle } from '../../src/file-handle.ts';
import type { FileHandle } from '../../src/handle-format.ts';
import { readAllEntries } from '../suites/calls.ts';
import { generateTree } from '../tree-generator.ts';
import { type Mounted, useScratch } from './harness.ts';
import { dropCaches } from './system.ts';

const { O_RDONLY, O_DIRECTORY } = constants;
const scratch = useScratch();

function handleOf(path: string): FileHandle {
  const result = nameToHandle(path);
  if (isErrno(result)) throw new Error(`name_to_handle_at ${path}: ${errnoName(result)}`);
  return result.handle;
}

const openFds: number[] = [];
afterEach(() => {
  for (const fd of openFds.splice(0)) closeSync(fd);
});

/** Opens a handle in the mount at `path`; closed after the test. */
function openHandle(path: string, handle: FileHandle, flags: number): number | Errno {
  const mountFd = openSync(path, O_RDONLY | O_DIRECTORY);
  try {
    const fd = openByHandle(mountFd, handle, flags);
    if (!isErrno(fd)) openFds.push(fd);
    return fd;
  } finally {
    closeSync(mountFd);
  }
}

/** As `openHandle`, where it must work. */
function openedHandle(path: string, handle: FileHandle, flags: number): number {
  const fd = openHandle(path, handle, flags);
  if (isErrno(fd)) throw new Error(`open_by_handle_at: ${errnoName(fd)}`);
  return fd;
}

/** Files of every type, as paths in the tree. */
const FILES = ['odd/types/regular', 'odd/sizes/65537', 'odd/sizes/1', 'odd/links/b/first', 'odd/modes/file-0000'];
const DIRECTORIES = ['.', 'odd', 'odd/links/a', 'deep/l1/l2/l3/l4', 'odd/modes/directory-0000'];
const OTHERS = ['odd/types/symlink', 'odd/links/longest', 'odd/types/fifo', 'odd/types/socket', 'odd/types/null'];

describe('a file handle', () => {
  const source = scratch.at('tree');
  let image: string;
  let at: string;

  beforeAll(async () => {
    generateTree(source, { seed: 3, oddities: true, deep: 10 });
    image = (await scratch.pack(source)).image;
    at = scratch.directory('mnt');
  });

  /** Takes the handles of `paths` from one mount, and gives them and a later mount to `use`. */
  async function afterRemount(
    paths: readonly string[],
    use: (handle: FileHandle, path: string) => void,
  ): Promise<void> {
    const first = await scratch.mount(image, { at });
    const handles = paths.map((path) => handleOf(first.at(path)));
    await first.unmount();
    const second = await scratch.mount(image, { at });
    // nothing was looked up in this mount yet: the kernel must ask for each id
    handles.forEach((handle, i) => {
      use(handle, paths[i] as string);
    });
    dropCaches();
    handles.forEach((handle, i) => {
      use(handle, paths[i] as string);
    });
    // the names, seen now, must be the same inodes as those that the handles opened
    paths.forEach((path, i) => {
      expect(handleOf(second.at(path))).toEqual(handles[i]);
      use(handles[i] as FileHandle, path);
    });
  }

  test('of a regular file opens its content after unmount, remount and drop_caches', async () => {
    await afterRemount(FILES, (handle, path) => {
      const fd = openedHandle(at, handle, O_RDONLY);
      expect(readFileSync(fd).equals(readFileSync(join(source, path)))).toBe(true);
      expect(fstatSync(fd).ino).toBe(lstatSync(join(at, path)).ino);
    });
  });

  test('of a directory opens it with its entries and its "..", after unmount, remount and drop_caches', async () => {
    await afterRemount(DIRECTORIES, (handle, path) => {
      const fd = openedHandle(at, handle, O_RDONLY | O_DIRECTORY);
      expect(readdirSync(`/proc/self/fd/${fd}`).sort()).toEqual(readdirSync(join(source, path)).sort());
      expect(fstatSync(fd).mtimeMs).toBe(lstatSync(join(source, path)).mtimeMs);
      // the kernel finds the way up from a directory that it knows by its id only
      if (path !== '.') expect(lstatSync(`/proc/self/fd/${fd}/..`).ino).toBe(lstatSync(join(at, path, '..')).ino);
    });
  });

  test('of what is neither names it, after unmount, remount and drop_caches', async () => {
    await afterRemount(OTHERS, (handle, path) => {
      const stats = fstatSync(openedHandle(at, handle, O_PATH));
      const expected = lstatSync(join(source, path));
      expect([stats.mode, stats.size, stats.rdev, stats.mtimeMs]).toEqual([
        expected.mode,
        expected.size,
        expected.rdev,
        expected.mtimeMs,
      ]);
      expect(stats.ino).toBe(lstatSync(join(at, path)).ino);
    });
  });

  test('is the same for all names of a file, and opens in another mount of the image', async () => {
    await scratch.mount(image, { at });
    const names = ['odd/links/b/first', 'odd/links/a/second', 'odd/links/third'];
    const [first, ...others] = names.map((name) => handleOf(join(at, name)));
    for (const other of others) expect(other).toEqual(first);
    const away = await scratch.mount(image);
    expect(readFileSync(openedHandle(away.path, first as FileHandle, O_RDONLY), 'utf8')).toBe('three names\n');
  });

  test('that no image gave is ESTALE', async () => {
    const { path } = await scratch.mount(image, { at });
    const { type, bytes } = handleOf(join(path, 'odd/types/regular'));
    for (let i = 0; i < bytes.length; i++) {
      const changed = Uint8Array.from(bytes);
      changed[i] = (changed[i] as number) ^ 0x40;
      const result = openHandle(path, { type, bytes: changed }, O_RDONLY);
      expect(errnoName(result as Errno), `byte ${i} changed`).toBe('ESTALE');
    }
  });

  test('holds the stable id that stat, readdir and cfs-info show', async () => {
    const mounted = await scratch.mount(image, { at });
    for (const directory of ['odd/types', 'odd/links', 'deep']) {
      const fd = openSync(mounted.at(directory), O_RDONLY | O_DIRECTORY);
      openFds.push(fd);
      const entries = readAllEntries(fd, 65_536).filter(({ name }) => !['.', '..'].includes(name.toString()));
      const paths = entries.map(({ name }) => `${directory}/${name}`);
      const { stdout } = await scratch.tool('cfs-info', ['stat', '--json', image, ...paths]);
      const known = JSON.parse(stdout) as { id: number; generation: number }[];
      entries.forEach(({ ino }, i) => {
        const path = paths[i] as string;
        const { id, generation } = known[i] as (typeof known)[number];
        expect([path, ino, lstatSync(mounted.at(path)).ino]).toEqual([path, id, id]);
        const handle = Buffer.from(handleOf(mounted.at(path)).bytes);
        expect(handle.readUInt32LE(0) * 2 ** 32 + handle.readUInt32LE(4)).toBe(id);
        expect(handle.readUInt32LE(8)).toBe(generation);
      });
    }
  });
});

describe('a file handle in the next version of an image', () => {
  const source = scratch.at('versions');
  const at = scratch.at('versions-mnt');
  let images: string[];
  let mounted: Mounted;
  let handles: ReadonlyMap<string, FileHandle>;
  const NAMES = ['same', 'content', 'mode', 'target', 'type', 'removed', 'directory', 'directory/same', 'second-name'];

  function writeVersion(version: 1 | 2): void {
    const write = (name: string, content: string): void => {
      rmSync(join(source, name), { force: true });
      writeFileSync(join(source, name), content);
    };
    const link = (name: string, target: string): void => {
      rmSync(join(source, name), { force: true });
      symlinkSync(target, join(source, name));
    };
    write('same', 'the same');
    write('content', `version ${version}`);
    write('mode', 'the same');
    link('target', `target ${version}`);
    if (version === 1) write('type', 'a file');
    else link('type', 'a file');
    write('directory/same', 'the same below');
    write('second-name', 'the same too');
    if (version === 1) write('removed', 'is there');
    else rmSync(join(source, 'removed'));
    if (version === 2) {
      write('directory/new', 'new in this directory');
      write('a new name that sorts first', 'new');
    }
  }

  beforeAll(async () => {
    mkdirSync(join(source, 'directory'), { recursive: true });
    mkdirSync(at);
    writeVersion(1);
    images = [(await scratch.pack(source)).image];
    writeVersion(2);
    chmodSync(join(source, 'mode'), 0o600);
    images.push((await scratch.pack(source)).image);
    const first = await scratch.mount(images[0] as string, { at });
    handles = new Map(NAMES.map((name) => [name, handleOf(first.at(name))]));
    await first.unmount();
    mounted = await scratch.mount(images[1] as string, { at });
  });

  const open = (name: string, flags: number): number | Errno => openHandle(at, handles.get(name) as FileHandle, flags);

  test.each(['content', 'target', 'type', 'removed'])('is ESTALE where the file changed: %s', (name) => {
    for (let i = 0; i < 2; i++) {
      expect(errnoName(open(name, O_PATH) as Errno)).toBe('ESTALE');
      // seen by its name, the new file is another one than the handle's still
      if (name !== 'removed') lstatSync(mounted.at(name));
    }
    expect(errnoName(open(name, O_RDONLY) as Errno)).toBe('ESTALE');
  });

  test.each(['same', 'mode', 'directory/same', 'second-name'])('opens where the content is the same: %s', (name) => {
    const fd = open(name, O_RDONLY);
    expect(fd).toBeGreaterThan(0);
    expect(readFileSync(fd)).toEqual(readFileSync(join(source, name)));
    expect(fstatSync(fd).mode).toBe(lstatSync(join(source, name)).mode);
  });

  test('opens a directory, whatever is new in it', () => {
    const fd = open('directory', O_RDONLY | O_DIRECTORY);
    expect(readdirSync(`/proc/self/fd/${fd}`).sort()).toEqual(['new', 'same']);
  });
});
