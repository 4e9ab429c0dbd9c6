/** Upper directories that users and overlayfs change between two mounts of cfs: ids do not meet, handles stay right. */
import {
  appendFileSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ESTALE, isErrno } from '../../src/base/errno.ts';
import type { FileHandle } from '../../src/base/handle-format.ts';
import { mountLoop } from './cli.ts';
import { closeAfterEach, closeHandles, handleOf, keepNames, openHandle, refusalOf } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { useOverlays } from './overlay.ts';
import { succeed } from './run.ts';
import { dropCaches } from './system.ts';

const scratch = useScratch();
const overlayOn = useOverlays(scratch);
closeAfterEach();

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  mkdirSync(join(source, 'directory/below'), { recursive: true });
  for (const name of ['file', 'changed', 'other', 'directory/first', 'directory/below/deep']) {
    writeFileSync(join(source, name), `${name} of the image\n`);
  }
  ({ image } = await scratch.pack(source));
});

const mount = (layers: string): Promise<Mounted> => {
  for (const name of ['upper', 'work']) mkdirSync(join(layers, name), { recursive: true });
  return scratch.mount(image, { words: [`upperdir=${layers}/upper`, `workdir=${layers}/work`] });
};

/** The paths of all files, and those of directories. */
const pathsIn = (root: string): string[] => (readdirSync(root, { recursive: true }) as string[]).sort();

/** The inode number of each path. Throws if two have the same. */
function numbersOf(mounted: Mounted): Map<string, number> {
  const numbers = new Map(pathsIn(mounted.path).map((path) => [path, lstatSync(mounted.at(path)).ino] as const));
  expect(new Set(numbers.values()).size).toBe(numbers.size);
  return numbers;
}

interface Known {
  readonly ino: number;
  readonly handle: FileHandle;
}

const knownIn = (mounted: Mounted): Map<string, Known> =>
  new Map(
    pathsIn(mounted.path).map((path) => [
      path,
      { ino: lstatSync(mounted.at(path)).ino, handle: handleOf(mounted.at(path)) },
    ]),
  );

/** The path that a handle leads to now; undefined for none. */
function pathOf(mounted: Mounted, { handle, ino }: Known): string | undefined {
  const found = pathsIn(mounted.path).find((path) => lstatSync(mounted.at(path)).ino === ino);
  const fd = openHandle(mounted.path, handle, 0);
  if (isErrno(fd)) {
    expect([fd, found]).toEqual([ESTALE, undefined]);
    return undefined;
  }
  const status = fstatSync(fd);
  closeHandles();
  expect([status.ino, found]).toEqual([ino, expect.any(String)]);
  return found;
}

function change(mounted: Mounted): void {
  appendFileSync(mounted.at('changed'), 'changed\n');
  appendFileSync(mounted.at('directory/first'), 'changed\n');
  writeFileSync(mounted.at('new'), 'new\n');
  mkdirSync(mounted.at('made'));
  writeFileSync(mounted.at('made/inside'), 'inside\n');
}

test('a layer that is restored from a copy by rsync has the numbers and handles of the copy', async () => {
  const layers = scratch.directory('layers');
  const first = await mount(layers);
  change(first);
  const before = knownIn(first);
  await first.unmount();
  const backup = scratch.directory('backup');
  await succeed(['rsync', '-aHAX', `${layers}/upper/`, backup]);

  const second = await mount(layers);
  unlinkSync(second.at('new'));
  appendFileSync(second.at('other'), 'after the copy\n');
  for (let i = 0; i < 20; i++) writeFileSync(second.at(`later-${i}`), `later ${i}\n`);
  renameSync(second.at('made/inside'), second.at('directory/inside'));
  const later = knownIn(second);
  await second.unmount();
  await succeed(['rsync', '-aHAX', '--delete', `${backup}/`, `${layers}/upper`]);

  const third = await mount(layers);
  for (const [path, known] of before) expect(pathOf(third, known), path).toBe(path);
  numbersOf(third);
  expect(readFileSync(third.at('new'), 'utf8')).toBe('new\n');
  expect(readFileSync(third.at('other'), 'utf8')).toBe('other of the image\n');
  for (const [path, known] of later) if (path.startsWith('later-')) expect(pathOf(third, known)).toBeUndefined();
  await third.unmount();
  rmSync(join(layers, 'work', 'work', 'cfs-ids'));
  const last = await mount(layers);
  for (const [path, known] of before) expect(pathOf(last, known), path).toBe(path);
});

test('files that are removed and made by hand, with inode numbers that are used again, get new numbers', async () => {
  // ext4 uses the numbers of removed files at once
  const layers = await mountLoop(scratch.at('disk'), 'ext4', 24);
  const first = await mount(layers);
  for (let i = 0; i < 50; i++) writeFileSync(first.at(`old-${i}`), `old ${i}\n`);
  const before = knownIn(first);
  await first.unmount();
  const upper = join(layers, 'upper');
  const old = new Set(readdirSync(upper).map((name) => lstatSync(join(upper, name)).ino));
  for (let i = 0; i < 50; i++) unlinkSync(join(upper, `old-${i}`));
  for (let i = 0; i < 50; i++) writeFileSync(join(upper, `fresh-${i}`), `fresh ${i}\n`);
  expect(readdirSync(upper).some((name) => old.has(lstatSync(join(upper, name)).ino))).toBe(true);
  const again = await mount(layers);
  const numbers = new Set(numbersOf(again).values());
  for (const [path, { ino, handle }] of before) {
    if (!path.startsWith('old-')) continue;
    expect(numbers.has(ino), path).toBe(false);
    expect(refusalOf(again.path, handle, 0), path).toBe('ESTALE');
  }
});

test('an overlayfs that used the layer in between leaves numbers and handles as they are', async () => {
  const layers = scratch.directory('layers');
  const first = await mount(layers);
  change(first);
  const before = knownIn(first);
  await first.unmount();

  const lower = await scratch.mount(image);
  keepNames(lower.path);
  const overlay = await overlayOn([lower.path], layers, ['redirect_dir=on', 'metacopy=on', 'index=off', 'xino=on']);
  // a copy with all xattrs that overlayfs shows, the id of cfs among them
  await succeed(['cp', '-a', '--preserve=all', overlay.path('new'), overlay.path('a-copy')]);
  await succeed(['cp', '-a', '--preserve=all', overlay.path('made'), overlay.path('a-made')]);
  appendFileSync(overlay.path('other'), 'by overlayfs\n');
  writeFileSync(overlay.path('by-overlayfs'), 'by overlayfs\n');
  renameSync(overlay.path('directory'), overlay.path('moved'));
  unlinkSync(overlay.path('file'));
  await overlay.unmount();

  const again = await mount(layers);
  const now = numbersOf(again);
  const paths = new Map([...before.keys()].map((path) => [path, path.replace(/^directory/, 'moved')]));
  for (const [path, known] of before) {
    if (path === 'file') expect(pathOf(again, known)).toBeUndefined();
    // of two files with one id, one has it
    else if (path === 'new') expect(['new', 'a-copy']).toContain(pathOf(again, known));
    else if (path.startsWith('made')) expect([path, `a-${path}`]).toContain(pathOf(again, known));
    else expect(pathOf(again, known), path).toBe(paths.get(path));
  }
  expect(readFileSync(again.at('moved/first'), 'utf8')).toBe('directory/first of the image\nchanged\n');
  expect(readFileSync(again.at('other'), 'utf8')).toBe('other of the image\nby overlayfs\n');
  dropCaches();
  expect(numbersOf(again)).toEqual(now);
  await again.unmount();
  rmSync(join(layers, 'work', 'work', 'cfs-ids'));
  expect(numbersOf(await mount(layers))).toEqual(now);
});
