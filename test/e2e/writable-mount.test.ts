/** Mounts with an upper layer: changes, what is left of them after the mount, and the end of a server meanwhile. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { formatHandle } from '../../src/base/handle-format.ts';
import type { ComparedField, Difference } from '../../tools/compare/compare.ts';
import { mountTmpfs } from './cli.ts';
import { closeAfterEach, handleOf, keepNames, openedHandle } from './handle-calls.ts';
import { compare, type Mounted, type MountSettings, useScratch } from './harness.ts';
import { type Layers, newLayers } from './layers.ts';
import { kernelBefore, useOverlays } from './overlay.ts';
import { asUser, endOf, NOBODY, run, succeed } from './run.ts';
import { dropCaches, isAlive, killServer, mountedAt, until } from './system.ts';

const scratch = useScratch();
const overlayOn = useOverlays(scratch);
closeAfterEach();

const FILES = 40;
const LARGE = 1_000_000;

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, `file-${i}`), `file ${i} of the image`);
  writeFileSync(join(source, 'large'), Buffer.alloc(LARGE, 'a large file '));
  writeFileSync(join(source, 'stamp'), '');
  mkdirSync(join(source, 'directory/below'), { recursive: true });
  writeFileSync(join(source, 'directory/below/deep'), 'deep');
  writeFileSync(join(source, 'directory/first'), 'linked');
  linkSync(join(source, 'directory/first'), join(source, 'directory/second'));
  mkdirSync(join(source, 'shared'));
  chmodSync(join(source, 'shared'), 0o1777);
  image = (await scratch.pack(source)).image;
});

const mount = (layers: Layers, settings: MountSettings = {}): Promise<Mounted> =>
  scratch.mount(image, { words: layers.words, ...settings });

/** Expects no difference but what overlayfs has, too: merged directories have one link. */
async function expectSame(left: string, right: string, ignore: readonly ComparedField[] = []): Promise<void> {
  const { differences } = await compare(left, right, { ignore });
  const isDirectory = ({ path }: Difference): boolean => statSync(join(left, path)).isDirectory();
  const isMerged = (one: Difference): boolean =>
    one.field === 'nlink' && [one.left, one.right].includes('1') && isDirectory(one);
  // the id of a new file, which only a mount of cfs hides
  const isId = ({ field, right: value }: Difference): boolean =>
    field === 'xattrs' && value.startsWith('trusted.cfs.id=');
  expect(differences.filter((difference) => !isMerged(difference) && !isId(difference))).toEqual([]);
}

/** Inode number and handle of each name. */
const identities = (mounted: Mounted, names: readonly string[]): string[] =>
  names.map((name) => `${name} ${lstatSync(mounted.at(name)).ino} ${formatHandle(handleOf(mounted.at(name)))}`);

describe('a mount with an upper layer', () => {
  test('is reported as what it is', async () => {
    const mounted = await mount(newLayers(scratch));
    expect(mounted.report).toMatchObject({ verify: 'read', passthrough: true });
    expect(mountedAt(mounted.path)?.options).toContain('rw');
  });

  test('keeps changes in upperdir, and shows them after a remount with the same inode numbers and handles', async () => {
    const layers = newLayers(scratch);
    const first = await mount(layers);
    mkdirSync(first.at('new'));
    writeFileSync(first.at('new/file'), 'written');
    symlinkSync('file', first.at('new/link'));
    linkSync(first.at('new/file'), first.at('new/other'));
    appendFileSync(first.at('file-1'), ', changed');
    chmodSync(first.at('file-2'), 0o600);
    renameSync(first.at('file-3'), first.at('directory/moved'));
    renameSync(first.at('directory'), first.at('renamed'));
    unlinkSync(first.at('file-4'));
    rmSync(first.at('renamed/below'), { recursive: true });
    const names = ['new', 'new/file', 'new/link', 'new/other', 'file-1', 'file-2', 'file-5', 'renamed'];
    names.push('renamed/moved', 'renamed/first', 'renamed/second');
    const before = identities(first, names);
    const handle = handleOf(first.at('renamed/moved'));
    await first.unmount();
    expect(readFileSync(join(layers.upper, 'new/file'), 'utf8')).toBe('written');
    expect(readFileSync(join(source, 'file-1'), 'utf8')).toBe('file 1 of the image');

    const second = await mount(layers);
    expect(identities(second, names)).toEqual(before);
    expect(readFileSync(second.at('file-1'), 'utf8')).toBe('file 1 of the image, changed');
    expect(statSync(second.at('file-2')).mode & 0o777).toBe(0o600);
    expect(readFileSync(second.at('renamed/moved'), 'utf8')).toBe('file 3 of the image');
    expect(existsSync(second.at('file-4'))).toBe(false);
    expect(existsSync(second.at('renamed/below'))).toBe(false);
    expect(statSync(second.at('new/file')).nlink).toBe(2);
    expect(readFileSync(openedHandle(second.path, handle, 0), 'utf8')).toBe('file 3 of the image');
    const tree = await compareList(second);
    dropCaches();
    expect(await compareList(second)).toEqual(tree);
  });

  test('with ro shows the changes, and changes nothing, also beside another one', async () => {
    const layers = newLayers(scratch);
    const first = await mount(layers);
    writeFileSync(first.at('new'), 'written');
    appendFileSync(first.at('file-1'), ', changed');
    appendFileSync(first.at('directory/second'), ', too');
    unlinkSync(first.at('file-4'));
    chmodSync(first.at('file-2'), 0o600);
    const names = ['new', 'file-1', 'file-2', 'directory/first', 'directory/second'];
    const before = identities(first, names);
    await first.unmount();
    writeFileSync(join(layers.upper, 'by-hand'), 'x');
    const listed = (): string[] =>
      [layers.upper, layers.work].flatMap((dir) => readdirSync(dir, { recursive: true }) as string[]);
    const there = listed();
    const [one, other] = [
      await mount({ ...layers, words: [...layers.words, 'ro'] }),
      await mount({ ...layers, words: [...layers.words, 'ro'] }),
    ];
    for (const mounted of [one, other]) {
      expect(identities(mounted, names)).toEqual(before);
      expect(existsSync(mounted.at('file-4'))).toBe(false);
      expect(readFileSync(mounted.at('directory/first'), 'utf8')).toBe('linked, too');
      expect(statSync(mounted.at('directory/first')).nlink).toBe(2);
      expect(() => writeFileSync(mounted.at('file-5'), '')).toThrow('EROFS');
      expect(() => unlinkSync(mounted.at('new'))).toThrow('EROFS');
    }
    const { ino } = statSync(one.at('by-hand'));
    await killServer(one);
    expect(statSync(one.at('by-hand')).ino).toBe(ino);
    expect(readFileSync(one.at('by-hand'), 'utf8')).toBe('x');
    await one.unmount();
    await other.unmount();
    expect(listed()).toEqual(there);
  });

  test('keeps a file that was removed for those that have it open', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    const [ofImage, made] = [openSync(mounted.at('large'), 'r+'), openSync(mounted.at('made'), 'wx+')];
    try {
      writeSync(made, 'before, ', 0);
      unlinkSync(mounted.at('large'));
      unlinkSync(mounted.at('made'));
      await killServer(mounted);
      writeSync(made, 'and after', 8);
      const read = Buffer.alloc(17);
      expect(readSync(made, read, 0, 17, 0)).toBe(17);
      expect(read.toString()).toBe('before, and after');
      expect(readSync(ofImage, read, 0, 13, 13 * 1000)).toBe(13);
      expect(read.subarray(0, 13).toString()).toBe('a large file ');
      expect([fstatSync(made).nlink, fstatSync(ofImage).nlink]).toEqual([0, 0]);
    } finally {
      closeSync(ofImage);
      closeSync(made);
    }
    await mounted.unmount();
    const again = await mount(layers);
    expect(readdirSync(again.path)).not.toContain('large');
    expect(readdirSync(join(layers.work, 'cfs/orphans'))).toEqual([]);
  });

  test('can be mounted again as soon as umount has returned', async () => {
    const layers = newLayers(scratch);
    for (let i = 0; i < 5; i++) {
      const at = scratch.directory('mnt');
      const mounted = await mount(layers, { at });
      writeFileSync(mounted.at(`round-${i}`), '');
      await succeed(['umount', at]);
    }
    const last = await mount(layers);
    expect(readdirSync(last.path).filter((name) => name.startsWith('round-'))).toHaveLength(5);
  });

  test('is the same for an overlayfs over a read-only mount of the image', async () => {
    const layers = newLayers(scratch);
    const mounted = await mount(layers);
    mkdirSync(mounted.at('new'));
    writeFileSync(mounted.at('new/file'), 'written');
    appendFileSync(mounted.at('directory/first'), ', changed');
    chmodSync(mounted.at('file-2'), 0o640);
    renameSync(mounted.at('directory'), mounted.at('renamed'));
    unlinkSync(mounted.at('file-4'));
    rmdirSync(mounted.at('shared'));
    mkdirSync(mounted.at('shared'));
    const copy = scratch.directory('copy');
    await succeed(['cp', '-a', `${mounted.path}/.`, copy]);
    await mounted.unmount();

    const lower = await scratch.mount(image);
    keepNames(lower.path);
    const parent = scratch.directory('overlay-layers');
    // beside each other, with the names that the helper of the tests expects
    renameSync(layers.upper, join(parent, 'upper'));
    renameSync(layers.work, join(parent, 'work'));
    const options = kernelBefore(6, 12) ? [] : ['redirect_dir=on', 'metacopy=on', 'index=on', 'xino=on'];
    const overlay = await overlayOn([lower.path], parent, options);
    await expectSame(copy, overlay.at);
  });

  test('gives files of an ordinary user to that user', async () => {
    const mounted = await mount(newLayers(scratch));
    const script =
      'umask 027 && mkdir mine && echo hello > mine/file && ln -s file mine/link && mv mine/file mine/moved';
    await succeed([...asUser(NOBODY), 'sh', '-c', `cd ${mounted.at('shared')} && ${script}`]);
    expect(lstatSync(mounted.at('shared/mine'))).toMatchObject({ uid: NOBODY, gid: NOBODY, mode: 0o040750 });
    expect(lstatSync(mounted.at('shared/mine/moved'))).toMatchObject({ uid: NOBODY, mode: 0o100640, size: 6 });
    expect(lstatSync(mounted.at('shared/mine/link')).uid).toBe(NOBODY);
    const denied = await run([...asUser(NOBODY), 'sh', '-c', `echo no > ${mounted.at('file-0')}`]);
    expect(denied.stderr).toMatch(/Permission denied/);
    expect(readFileSync(mounted.at('file-0'), 'utf8')).toBe('file 0 of the image');
  });

  test('writes everything to the disk at the end of a volatile mount, and can be mounted again', async () => {
    const layers = newLayers(scratch, 'volatile');
    const marker = join(layers.work, 'work/incompat/volatile');
    const mounted = await mount(layers);
    expect(existsSync(marker)).toBe(true);
    writeFileSync(mounted.at('new'), 'written');
    await killServer(mounted);
    await mounted.unmount();
    expect(existsSync(marker)).toBe(false);
    const again = await mount(layers);
    expect(readFileSync(again.at('new'), 'utf8')).toBe('written');
  });

  test('serves files of a tmpfs', async () => {
    const tmpfs = await mountTmpfs(scratch.directory('tmpfs'));
    const [upper, work] = [join(tmpfs, 'upper'), join(tmpfs, 'work')];
    for (const path of [upper, work]) mkdirSync(path);
    const words = [`upperdir=${upper}`, `workdir=${work}`];
    const mounted = await scratch.mount(image, { words });
    appendFileSync(mounted.at('file-1'), ', changed');
    expect(readFileSync(mounted.at('file-1'), 'utf8')).toBe('file 1 of the image, changed');
    await mounted.unmount();
    await until('the server has ended', () => !isAlive(mounted.pid));
    await succeed(['umount', tmpfs]);
  });

  test('works in the foreground, without another server', async () => {
    const layers = newLayers(scratch, 'restart=off');
    const { mounted, child, ended } = await scratch.mountInForeground(image, { words: layers.words });
    writeFileSync(mounted.at('new'), 'written');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(readFileSync(join(layers.upper, 'new'), 'utf8')).toBe('written');
  });
});

/** All names with their inode numbers, as `find` prints them. */
async function compareList(mounted: Mounted): Promise<string[]> {
  return (await succeed(['find', mounted.path, '-printf', '%P %i %y %n %s\\n'])).split('\n').sort();
}

describe('the server of a mount with an upper layer', () => {
  const ROUNDS = 400;

  test.each([
    ['two threads', []],
    ['one thread', ['threads=1']],
  ])('may be killed at any time, with %s: every call of a writer succeeds, once', async (_name, words) => {
    const expected = scratch.directory('plain');
    await succeed(['cp', '-a', `${source}/.`, expected]);
    await succeed(['node', join(import.meta.dirname, 'writer-load.mjs'), expected, String(ROUNDS)]);
    const layers = newLayers(scratch, ...words);
    const mounted = await mount(layers);
    const writer = new Writer(mounted.path, ROUNDS);
    let kills = 0;
    for (let next = 20; next < ROUNDS; next += 40) {
      await writer.reached(next);
      await killServer(mounted);
      kills++;
    }
    expect(await writer.end()).toEqual({ status: 0, stderr: '' });
    expect(kills).toBeGreaterThan(5);
    await expectSame(expected, mounted.path, ['mtime']);
    await mounted.unmount();
    const again = await mount(layers);
    await expectSame(expected, again.path, ['mtime']);
  });

  test('is replaced by that of another version while a program writes', async () => {
    const mounted = await mount(newLayers(scratch));
    const writer = new Writer(mounted.path, 100);
    await writer.reached(10);
    const { status, stderr } = await scratch.tool('cfs-mount', ['--upgrade', mounted.path]);
    expect([status, stderr]).toEqual([0, '']);
    expect(await writer.end()).toEqual({ status: 0, stderr: '' });
  });
});

/** A process that runs writer-load.mjs. */
class Writer {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #round = -1;
  #stderr = '';

  constructor(directory: string, rounds: number) {
    const script = join(import.meta.dirname, 'writer-load.mjs');
    this.#child = spawn('node', [script, directory, String(rounds)], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#ended = once(this.#child, 'close');
    this.#child.stdout?.on('data', (lines: Buffer) => {
      this.#round = Number(lines.toString().trim().split('\n').at(-1));
    });
    this.#child.stderr?.on('data', (text: Buffer) => {
      this.#stderr += text.toString();
    });
  }

  /** Waits until the round is complete, or the writer has ended. */
  reached(round: number): Promise<void> {
    return until(`round ${round}`, () => this.#round >= round || this.#child.exitCode !== null);
  }

  async end(): Promise<{ status: number | null; stderr: string }> {
    await this.#ended;
    return { status: this.#child.exitCode, stderr: this.#stderr };
  }
}

describe('cfs-mount refuses', () => {
  async function refusal(words: readonly string[], settings: MountSettings = {}): Promise<string> {
    const { status, stdout } = await scratch.tryMount(image, { words, ...settings });
    expect(status).toBe(32);
    return (JSON.parse(stdout) as { error: { message: string } }).error.message;
  }

  test('a layer that another mount has', async () => {
    const { upper, work, words } = newLayers(scratch);
    const mounted = await scratch.mount(image, { words });
    expect(await refusal(words)).toBe(
      `Cannot use ${work} as workdir: another mount of cfs uses it, at ${mounted.path}`,
    );
    const other = scratch.directory('other');
    expect(await refusal([`upperdir=${upper}`, `workdir=${other}`])).toBe(
      `Cannot use ${upper} as upperdir: another mount of cfs uses it`,
    );
    // the first one is not disturbed
    writeFileSync(mounted.at('new'), 'written');
    expect(readFileSync(join(upper, 'new'), 'utf8')).toBe('written');
  });

  test('a layer of a mount in another mount namespace, at once', async () => {
    const { upper, work, words } = newLayers(scratch, 'userxattr');
    const place = await scratch.namespace('another namespace');
    const mounted = await scratch.mount(image, { words, place });
    const began = performance.now();
    const message = await refusal(words);
    expect(message).toMatch(
      new RegExp(`workdir: another mount of cfs uses it, at ${mounted.path} in the mount namespace of process \\d+$`),
    );
    const pid = Number(/\d+$/.exec(message)?.[0]);
    expect(readlinkSync(`/proc/${pid}/ns/mnt`)).toBe(readlinkSync(`/proc/${mounted.pid}/ns/mnt`));
    // nothing is ending there, so nothing is waited for: 20 s
    expect(performance.now() - began).toBeLessThan(10_000);
    await mounted.unmount();
    const again = await scratch.mount(image, { words: [`upperdir=${upper}`, `workdir=${work}`, 'userxattr'] });
    expect(readdirSync(again.path)).toContain('file-0');
  });

  test('a layer of a mount that is only in another mount namespace any more', async () => {
    const { words } = newLayers(scratch);
    const mounted = await scratch.mount(image, { words });
    const copy = spawn('unshare', ['--mount', '--propagation', 'private', 'sleep', '1000'], { stdio: 'ignore' });
    try {
      await until('it has its copy of the mounts', () => isCopied(copy.pid as number, mounted.path));
      await succeed(['umount', mounted.path]);
      expect(await refusal(words)).toMatch(`in the mount namespace of process ${copy.pid}`);
    } finally {
      await endOf(copy);
    }
    const again = await scratch.mount(image, { words });
    expect(readdirSync(again.path)).toContain('file-0');
  });

  /** Whether a process has a mount namespace of its own with this mount. */
  function isCopied(pid: number, path: string): boolean {
    if (readlinkSync(`/proc/${pid}/ns/mnt`) === readlinkSync('/proc/self/ns/mnt')) return false;
    return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(` ${path} `);
  }

  test('directories that do not fit, and nothing is mounted', async () => {
    const { upper, work } = newLayers(scratch);
    const at = scratch.directory('mnt');
    const of = (one: string, other: string): Promise<string> =>
      refusal([`upperdir=${one}`, `workdir=${other}`], { at });
    expect(await of(upper, upper)).toMatch(/it is the upperdir itself/);
    expect(await of(scratch.at('nowhere'), work)).toMatch(/it does not exist/);
    const lower = await scratch.mount(image);
    expect(await of(lower.at('shared'), lower.at('directory'))).toMatch(/a FUSE file system/);
    expect(mountedAt(at)).toBeUndefined();
  });

  test.each([
    [['driver=fuse-native'], /the portable driver is read-only/],
    [['verify=off'], /verify=off and upperdir= exclude each other/],
  ])('it with %s', async (more, reason) => {
    const { words } = newLayers(scratch, ...more);
    const { status, stderr } = await scratch.tool('cfs-mount', [
      '-o',
      words.join(','),
      image,
      scratch.directory('mnt'),
    ]);
    expect(status).toBe(1);
    expect(stderr).toMatch(reason);
  });
});

test('a server that is killed without another one leaves a layer that can be mounted again', async () => {
  const layers = newLayers(scratch, 'restart=off');
  const mounted = await mount(layers);
  writeFileSync(mounted.at('new'), 'written');
  const { ino } = statSync(mounted.at('new'));
  process.kill(mounted.pid, 'SIGKILL');
  await until('it has ended', () => !isAlive(mounted.pid));
  await mounted.unmount();
  const again = await mount(layers);
  expect(readFileSync(again.at('new'), 'utf8')).toBe('written');
  expect(statSync(again.at('new')).ino).toBe(ino);
});
