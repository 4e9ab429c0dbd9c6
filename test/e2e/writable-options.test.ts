/** Options of an upper layer that overlayfs has, too: the same effects. */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { closeFd, openAt } from '../../src/system/descriptors.ts';
import { AT_FDCWD } from '../../src/system/libc.ts';
import { getXattrAt } from '../../src/system/xattr-calls.ts';
import { closeAfterEach, handleOf, keepNames, openedHandle } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { UPPERS, useOverlays } from './overlay.ts';
import { succeed } from './run.ts';
import { dropCaches } from './system.ts';

const scratch = useScratch();
const overlayOn = useOverlays(scratch);
closeAfterEach();

const NAMES = ['first', 'second', 'directory/third', 'directory/fourth'];

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  mkdirSync(join(source, 'directory'));
  writeFileSync(join(source, NAMES[0] as string), 'of the image\n');
  for (const name of NAMES.slice(1)) linkSync(join(source, NAMES[0] as string), join(source, name));
  ({ image } = await scratch.pack(source));
});

const mount = (layers: string, ...more: readonly string[]): Promise<Mounted> => {
  for (const name of ['upper', 'work']) mkdirSync(join(layers, name), { recursive: true });
  return scratch.mount(image, { words: [`upperdir=${layers}/upper`, `workdir=${layers}/work`, ...more] });
};

/** What a user sees of each name; files with one inode number have the same letter. */
function looks(root: string): string[] {
  const letters = new Map<number, string>();
  return NAMES.concat('moved', 'linked').map((name) => {
    const status = statSync(join(root, name), { throwIfNoEntry: false });
    if (status === undefined) return `${name}: none`;
    if (!letters.has(status.ino)) letters.set(status.ino, String.fromCharCode(0x61 + letters.size));
    const mode = (status.mode & 0o777).toString(8);
    return `${name}: ${letters.get(status.ino)} ${status.nlink} ${mode} ${readFileSync(join(root, name), 'utf8')}`;
  });
}

const STEPS: Readonly<Record<string, (root: string) => void>> = {
  'at first': () => undefined,
  'after writing to one name': (root) => appendFileSync(join(root, 'second'), 'second\n'),
  'after a change of the mode of another': (root) => chmodSync(join(root, 'directory/third'), 0o600),
  'after a link to a changed name': (root) => linkSync(join(root, 'second'), join(root, 'linked')),
  'after removing an unchanged name': (root) => unlinkSync(join(root, 'first')),
  'after writing to a linked one': (root) => appendFileSync(join(root, 'linked'), 'linked\n'),
};

describe('index=off', () => {
  test('breaks hard links of the image as overlayfs does, before and after a remount', async () => {
    const layers = scratch.directory('layers');
    const overlay = await overlayOn([source], scratch.directory('layers'), ['index=off', 'redirect_dir=on']);
    const mounted = await mount(layers, 'index=off');
    for (const [when, step] of Object.entries(STEPS)) {
      step(overlay.at);
      step(mounted.path);
      expect(looks(mounted.path), when).toEqual(looks(overlay.at));
      dropCaches();
      expect(looks(mounted.path), `${when}, without the caches`).toEqual(looks(overlay.at));
    }
    const now = looks(mounted.path);
    const handles = ['second', 'directory/third', 'directory/fourth'].map((name) => handleOf(mounted.at(name)));
    await mounted.unmount();
    expect(readdirSync(join(layers, 'work')).sort()).toEqual(['cfs', 'work']);
    const again = await mount(layers, 'index=off');
    expect(looks(again.path)).toEqual(now);
    const contents = handles.map((handle) => readFileSync(openedHandle(again.path, handle, 0), 'utf8'));
    expect(contents).toEqual(['of the image\nsecond\nlinked\n', 'of the image\n', 'of the image\n']);
  });

  test('a file that is open keeps its content when another name of it is written', async () => {
    const mounted = await mount(scratch.directory('layers'), 'index=off');
    const fd = openSync(mounted.at('first'), 'r');
    appendFileSync(mounted.at('second'), 'second\n');
    expect(readFileSync(fd, 'utf8')).toBe('of the image\n');
    closeSync(fd);
  });

  test('its changes are read by an overlay over the image, and those of an overlay here', async () => {
    const layers = scratch.directory('layers');
    const first = await mount(layers, 'index=off');
    for (const step of Object.values(STEPS)) step(first.path);
    const now = looks(first.path);
    await first.unmount();
    const plain = await scratch.mount(image);
    keepNames(plain.path);
    const overlay = await overlayOn([plain.path], layers, ['index=off', 'redirect_dir=on', 'metacopy=on']);
    expect(looks(overlay.at)).toEqual(now);
    appendFileSync(overlay.path('directory/fourth'), 'by overlayfs\n');
    const after = looks(overlay.at);
    await overlay.unmount();
    const again = await mount(layers, 'index=off');
    expect(looks(again.path)).toEqual(after);
  });
});

describe('uuid', () => {
  const uuidOf = (upper: string): string | undefined => {
    const fd = openAt(AT_FDCWD, Buffer.from(upper), 0);
    const value = getXattrAt(fd, Uint8Array.of(), Buffer.from('trusted.overlay.uuid'));
    closeFd(fd);
    return isErrno(value) ? undefined : Buffer.from(value as Uint8Array).toString('hex');
  };

  test('on: upperdir gets one, which stays, and which overlayfs takes', async () => {
    const layers = scratch.directory('layers');
    await (await mount(layers, 'uuid=on')).unmount();
    const uuid = uuidOf(join(layers, 'upper'));
    expect(uuid).toMatch(/^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
    await (await mount(layers, 'uuid=on')).unmount();
    expect(uuidOf(join(layers, 'upper'))).toBe(uuid);
    const plain = await scratch.mount(image);
    const overlay = await overlayOn([plain.path], layers, ['uuid=on', 'index=off']);
    expect(uuidOf(join(layers, 'upper'))).toBe(uuid);
    // uuid_to_fsid(): the exclusive or of both halves
    const bytes = Buffer.from(uuid as string, 'hex');
    const fsid = bytes.readBigUInt64LE(0) ^ bytes.readBigUInt64LE(8);
    const shown = await succeed(['stat', '-f', '-c', '%i', overlay.at]);
    expect(`${shown}`.trim()).toBe((((fsid & 0xffff_ffffn) << 32n) | (fsid >> 32n)).toString(16));
  });

  test.each([[['uuid=off']], [[]]])('%j: upperdir gets none, and keeps one', async (words) => {
    const layers = scratch.directory('layers');
    await (await mount(layers, ...words)).unmount();
    expect(uuidOf(join(layers, 'upper'))).toBeUndefined();
    await (await mount(layers, 'uuid=on')).unmount();
    const uuid = uuidOf(join(layers, 'upper'));
    await (await mount(layers, ...words)).unmount();
    expect(uuidOf(join(layers, 'upper'))).toBe(uuid);
  });
});

test.each(['xino=on', 'xino=off', 'xino=auto'])('%s is accepted, and changes no inode number', async (word) => {
  const layers = scratch.directory('layers');
  const plain = await mount(layers);
  const numbers = NAMES.map((name) => statSync(plain.at(name)).ino);
  await plain.unmount();
  const mounted = await mount(layers, word);
  expect(NAMES.map((name) => statSync(mounted.at(name)).ino)).toEqual(numbers);
});

describe('times of access', () => {
  const PAST = 1_000_000_000;
  const readAll = (root: string): void => {
    for (const name of ['directory/third', 'new']) readFileSync(join(root, name));
    for (const name of ['directory', 'made']) readdirSync(join(root, name));
  };
  /** Whether reading changed the time: with relatime it does if the file was changed since. */
  const isRead = (root: string, name: string): boolean => {
    utimesSync(join(root, name), PAST, PAST);
    readAll(root);
    return statSync(join(root, name)).atimeMs !== PAST * 1000;
  };

  test('of the image stay; those of changed files are kept as the mount of upperdir has it', async () => {
    const layers = await UPPERS.tmpfs(scratch.directory('layers'));
    const option = (word: string): Promise<string> => succeed(['mount', '-o', `remount,${word}`, layers]);
    await option('relatime');
    const mounted = await mount(layers, 'noatime');
    writeFileSync(mounted.at('new'), 'new');
    mkdirSync(mounted.at('made'));
    for (const name of ['new', 'made']) expect(isRead(mounted.path, name), name).toBe(true);
    await option('noatime');
    for (const name of ['new', 'made']) expect(isRead(mounted.path, name), name).toBe(false);
    await option('strictatime');
    const times = (): number[] => ['directory', 'directory/third'].map((name) => statSync(mounted.at(name)).atimeMs);
    const before = times();
    dropCaches();
    readAll(mounted.path);
    expect(times()).toEqual(before);
    expect(readdirSync(join(layers, 'upper')).sort()).toEqual(['made', 'new']);
  });
});
