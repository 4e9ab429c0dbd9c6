/** File handles: a handle that name_to_handle_at(2) returned for a file opens that file in every later mount. */
import {
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { printable } from '../../src/base/bytes.ts';
import { type Errno, errnoName } from '../../src/base/errno.ts';
import { FILEID_IS_CONNECTABLE, type FileHandle, formatHandle, fuseIdentity } from '../../src/base/handle-format.ts';
import { AT_HANDLE_CONNECTABLE } from '../../src/system/file-handle.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { mknod } from '../support/libc.ts';
import { generateTree } from '../support/tree-generator.ts';
import {
  closeAfterEach,
  closeHandles,
  entriesBelow,
  handleOf,
  hasConnectableHandles,
  openedHandle,
  openHandle,
  refusalOf,
} from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { dropCaches } from './system.ts';

const { O_RDONLY, O_DIRECTORY } = constants;
const scratch = useScratch();
closeAfterEach();

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

  const inMount = (path: Uint8Array): Buffer => Buffer.concat([Buffer.from(at), path]);

  /** Takes the handles of `paths` from one mount, and calls `use` with them in a later mount. */
  async function afterRemount(
    paths: readonly string[],
    use: (handle: FileHandle, path: string) => void,
  ): Promise<void> {
    const first = await scratch.mount(image, { at });
    const handles = paths.map((path) => handleOf(first.at(path)));
    await first.unmount();
    const second = await scratch.mount(image, { at });
    // no name was looked up in this mount yet: the kernel must ask for each id
    handles.forEach((handle, i) => {
      use(handle, paths[i] as string);
    });
    dropCaches();
    handles.forEach((handle, i) => {
      use(handle, paths[i] as string);
    });
    // looked up now, the names must lead to the inodes that the handles opened
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
      // the kernel finds the parents of a directory that it knows only by its id
      if (path !== '.') expect(lstatSync(`/proc/self/fd/${fd}/..`).ino).toBe(lstatSync(join(at, path, '..')).ino);
    });
  });

  test('of other file types names the inode, after unmount, remount and drop_caches', async () => {
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

  test('that no image returned is ESTALE', async () => {
    const { path } = await scratch.mount(image, { at });
    const { type, bytes } = handleOf(join(path, 'odd/types/regular'));
    for (let i = 0; i < bytes.length; i++) {
      const changed = Uint8Array.from(bytes);
      changed[i] = (changed[i] as number) ^ 0x40;
      expect(refusalOf(path, { type, bytes: changed }, O_RDONLY), `byte ${i} changed`).toBe('ESTALE');
    }
  });

  test('holds the stable id that stat, readdir and cfs-info show, for every name of the tree', async () => {
    const mounted = await scratch.mount(image, { at });
    const entries = [...entriesBelow(mounted.path)];
    expect(entries.length).toBeGreaterThan(250);
    const paths = entries.map(({ path }) => printable(path));
    const { stdout } = await scratch.tool('cfs-info', ['stat', '--json', image, ...paths]);
    const known = JSON.parse(stdout) as { id: number; generation: number }[];
    entries.forEach(({ path, ino }, i) => {
      const absolute = inMount(path);
      const { id, generation } = known[i] as (typeof known)[number];
      expect([paths[i], ino, lstatSync(absolute).ino]).toEqual([paths[i], id, id]);
      expect(fuseIdentity(handleOf(absolute))).toEqual({ id, generation });
    });
  });

  test('opens in a mount whose daemon was killed and replaced', async () => {
    const first = await scratch.mount(image, { at, words: ['restart=off'] });
    const handle = handleOf(first.at('odd/types/regular'));
    process.kill(first.pid, 'SIGKILL');
    await first.end();
    await scratch.mount(image, { at });
    expect(readFileSync(openedHandle(at, handle, O_RDONLY), 'utf8')).toBe('regular\n');
  });

  describe.runIf(hasConnectableHandles)('that is connectable', () => {
    test('opens every name of the tree with a path, without a lookup since the mount', async () => {
      const first = await scratch.mount(image, { at });
      const entries = [...entriesBelow(first.path)];
      const handles = entries.map(({ path }) => handleOf(inMount(path), AT_HANDLE_CONNECTABLE));
      const namesOf = (ino: number): string[] =>
        entries.filter((entry) => entry.ino === ino).map(({ path }) => printable(inMount(path)));
      await first.unmount();
      await scratch.mount(image, { at });
      // from the end of a directory: files that were opened before must not help
      for (const [i, { ino }] of [...entries.entries()].reverse()) {
        const fd = openedHandle(at, handles[i] as FileHandle, O_PATH);
        const shown = readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' });
        expect(namesOf(ino)).toContain(printable(shown));
        expect(fstatSync(fd).ino).toBe(ino);
        if (i % 50 === 0) dropCaches();
      }
    });

    test('opens a hard link as the name that it was taken of, or as one that the kernel knows already', async () => {
      const pathOf = (fd: number): string => readlinkSync(`/proc/self/fd/${fd}`);
      const names = ['odd/links/b/first', 'odd/links/a/second', 'odd/links/third'].map((name) => join(at, name));
      let mounted = await scratch.mount(image, { at });
      const handles = names.map((name) => handleOf(name, AT_HANDLE_CONNECTABLE));
      expect(new Set(handles.map(formatHandle)).size).toBe(3);
      for (const [i, handle] of handles.entries()) {
        await mounted.unmount();
        mounted = await scratch.mount(image, { at });
        expect(pathOf(openedHandle(at, handle, O_PATH))).toBe(names[i]);
        for (const other of handles) expect(pathOf(openedHandle(at, other, O_PATH))).toBe(names[i]);
        closeHandles();
      }
    });

    test('opens only below the open directory', async () => {
      await scratch.mount(image, { at });
      const handle = handleOf(join(at, 'odd/types/regular'), AT_HANDLE_CONNECTABLE);
      expect(refusalOf(join(at, 'odd/links'), handle, O_PATH)).toBe('ESTALE');
      openedHandle(join(at, 'odd/types'), handle, O_PATH);
      // without the flag the parent in the handle is ignored
      openedHandle(join(at, 'odd/links'), { ...handle, type: handle.type & ~FILEID_IS_CONNECTABLE }, O_PATH);
    });
  });
});

describe('a file handle in the next version of an image', () => {
  const source = scratch.at('versions');
  const at = scratch.at('versions-mnt');
  let mounted: Mounted;
  let handles: ReadonlyMap<string, FileHandle>;

  const DEVICE = 0x103;
  const [FIFO, SOCKET, CHARACTER, BLOCK] = [0o010644, 0o140644, 0o020644, 0o060644];
  type Make = (path: string) => void;
  const file =
    (content: string): Make =>
    (path) =>
      writeFileSync(path, content);
  const link =
    (target: string): Make =>
    (path) =>
      symlinkSync(target, path);
  const node =
    (mode: number, device = 0): Make =>
    (path) =>
      mknod(path, mode, device);
  const directory =
    (...names: readonly string[]): Make =>
    (path) => {
      mkdirSync(path);
      for (const name of names) writeFileSync(join(path, name), `${name} below`);
    };

  /** Entries that are the same file at the same path in both versions. */
  const KEPT: Readonly<Record<string, readonly [Make, Make]>> = {
    file: [file('the same'), file('the same')],
    mode: [file('the same'), (path) => writeFileSync(path, 'the same', { mode: 0o600 })],
    symlink: [link('the same'), link('the same')],
    fifo: [node(FIFO), node(FIFO)],
    socket: [node(SOCKET), node(SOCKET)],
    character: [node(CHARACTER, DEVICE), node(CHARACTER, DEVICE)],
    block: [node(BLOCK, DEVICE), node(BLOCK, DEVICE)],
    directory: [directory('same', 'removed'), directory('same', 'new')],
    empty: [file(''), file('')],
  };
  const GONE: Readonly<Record<string, readonly [Make, Make | undefined]>> = {
    content: [file('version 1'), file('version 2')],
    emptied: [file('version 1'), file('')],
    target: [link('target 1'), link('target 2')],
    device: [node(CHARACTER, DEVICE), node(CHARACTER, DEVICE + 1)],
    'file-to-symlink': [file('a file'), link('a file')],
    'symlink-to-file': [link('a file'), file('a file')],
    'fifo-to-socket': [node(FIFO), node(SOCKET)],
    'socket-to-fifo': [node(SOCKET), node(FIFO)],
    'character-to-block': [node(CHARACTER, DEVICE), node(BLOCK, DEVICE)],
    'directory-to-file': [directory('a'), file('a file')],
    'file-to-directory': [file(''), directory('a')],
    'removed-file': [file('a file'), undefined],
    'removed-symlink': [link('a file'), undefined],
    'removed-fifo': [node(FIFO), undefined],
    'removed-directory': [directory('a'), undefined],
    'directory-to-file/a': [() => {}, undefined],
    'directory/removed': [() => {}, undefined],
  };

  async function packVersion(version: 0 | 1): Promise<string> {
    rmSync(source, { recursive: true, force: true });
    mkdirSync(source);
    for (const [name, versions] of Object.entries({ ...KEPT, ...GONE })) versions[version]?.(join(source, name));
    // more names, which all sort after the first
    linkSync(join(source, 'file'), join(source, `second-name-${version}`));
    if (version === 1) writeFileSync(join(source, 'a new name that sorts first'), 'new');
    return (await scratch.pack(source)).image;
  }

  beforeAll(async () => {
    mkdirSync(at);
    const first = await scratch.mount(await packVersion(0), { at });
    const names = [...Object.keys(KEPT), ...Object.keys(GONE), 'directory/same', 'second-name-0', '.'];
    handles = new Map(names.map((name) => [name, handleOf(first.at(name))]));
    await first.unmount();
    mounted = await scratch.mount(await packVersion(1), { at });
  });

  const open = (name: string, flags: number): number | Errno => openHandle(at, handles.get(name) as FileHandle, flags);

  test.each(Object.keys(GONE))('is ESTALE if the inode changed: %s', (name) => {
    for (let i = 0; i < 2; i++) {
      expect(errnoName(open(name, O_PATH) as Errno)).toBe('ESTALE');
      // even after a lookup by name, the new file is not that of the handle
      if (GONE[name]?.[1] !== undefined) lstatSync(mounted.at(name));
    }
    expect(errnoName(open(name, O_RDONLY) as Errno)).toBe('ESTALE');
  });

  test.each([...Object.keys(KEPT), 'directory/same', '.'])('opens the file at the same path: %s', (name) => {
    for (const look of [() => {}, dropCaches]) {
      look();
      const fd = open(name, O_PATH);
      expect(fd).toBeGreaterThan(0);
      const [opened, named] = [fstatSync(fd as number), lstatSync(mounted.at(name))];
      expect([opened.ino, opened.mode, opened.rdev]).toEqual([named.ino, named.mode, named.rdev]);
    }
  });

  test.each(['file', 'mode', 'empty', 'directory/same', 'second-name-0'])('reads the same content: %s', (name) => {
    const fd = open(name, O_RDONLY);
    const path = join(source, name === 'second-name-0' ? 'second-name-1' : name);
    expect(readFileSync(fd)).toEqual(readFileSync(path));
  });

  test('opens a directory, even with new entries', () => {
    const fd = open('directory', O_RDONLY | O_DIRECTORY);
    expect(readdirSync(`/proc/self/fd/${fd}`).sort()).toEqual(['new', 'same']);
  });
});
