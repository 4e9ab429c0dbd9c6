/** Packing a writable mount: only what was changed is read, and the image is the one that reading everything gives. */
import { type ChildProcess, spawn } from 'node:child_process';
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
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { FileHandle } from '../../src/base/handle-format.ts';
import { SETTLED_MS } from '../../src/pack/file-cache.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { EACH_STEP } from '../support/sample.ts';
import { mountTmpfs } from './cli.ts';
import { closeAfterEach, handleOf, openedHandle, refusalOf } from './handle-calls.ts';
import { compare, type Mounted, type Packed, useScratch } from './harness.ts';
import { RandomChanges } from './random-changes.ts';
import { succeed } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
closeAfterEach();
const LARGE = 100_000;

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  for (const directory of ['etc', 'usr/bin', 'usr/share/doc/pkg', 'moved/below', 'empty']) {
    mkdirSync(join(source, directory), { recursive: true });
  }
  for (const file of ['etc/a', 'etc/b', 'etc/c', 'usr/bin/tool', 'usr/share/doc/pkg/copyright', 'moved/below/deep']) {
    writeFileSync(join(source, file), `${file} `.repeat(100));
  }
  writeFileSync(join(source, 'etc/small'), 'small');
  writeFileSync(join(source, 'etc/empty'), '');
  writeFileSync(join(source, 'usr/large'), Buffer.alloc(LARGE, 'large '));
  linkSync(join(source, 'usr/bin/tool'), join(source, 'usr/bin/also-tool'));
  symlinkSync('a', join(source, 'etc/link'));
  await succeed(['setfattr', '-n', 'user.note', '-v', 'of the image', join(source, 'etc/c')]);
  await succeed(['mknod', join(source, 'etc/device'), 'c', '1', '3']);
  image = (await scratch.pack(source)).image;
});

function newWords(): string[] {
  return [`upperdir=${scratch.directory('upper')}`, `workdir=${scratch.directory('work')}`];
}

const mount = (words = newWords()): Promise<Mounted> => scratch.mount(image, { words });

/** The image of a mount, and the one that reading everything gives. */
async function bothWays({ path }: Mounted, ...args: readonly string[]): Promise<readonly [Packed, Packed]> {
  const quick = await scratch.pack(path, { args });
  const whole = await scratch.pack(path, { args: ['--rehash', ...args] });
  return [quick, whole];
}

async function expectEqual(mounted: Mounted, ...args: readonly string[]): Promise<Packed> {
  const [quick, whole] = await bothWays(mounted, ...args);
  // says what differs
  expect((await scratch.tool('cfs-info', ['diff', whole.image, quick.image])).stdout).toBe('');
  expect(quick.id).toBe(whole.id);
  expect(readFileSync(quick.image).equals(readFileSync(whole.image))).toBe(true);
  return quick;
}

function changeMuch({ path }: Mounted): void {
  const at = (name: string): string => join(path, name);
  renameSync(at('etc/a'), at('etc/a.old'));
  writeFileSync(at('etc/a'), 'new '.repeat(50));
  chmodSync(at('etc/b'), 0o600);
  appendFileSync(at('etc/c'), 'more');
  renameSync(at('moved'), at('usr/moved'));
  rmSync(at('usr/moved/below/deep'));
  writeFileSync(at('usr/moved/below/new'), 'new');
  rmSync(at('usr/share/doc'), { recursive: true });
  mkdirSync(at('usr/share/doc'));
  rmSync(at('usr/bin/also-tool'));
  linkSync(at('usr/bin/tool'), at('usr/linked'));
  linkSync(at('etc/b'), at('etc/b.linked'));
  symlinkSync('else', at('etc/new-link'));
  rmSync(at('etc/small'));
  writeFileSync(at('etc/small'), 's');
  chmodSync(at('usr/large'), 0o700);
}

/** A process that makes and removes a directory in another one, again and again. It has begun. */
async function changing(directory: string): Promise<ChildProcess> {
  const other = join(directory, 'other');
  const { ctimeNs } = statSync(directory, { bigint: true });
  const child = spawn('sh', ['-c', `while :; do mkdir ${other}; rmdir ${other}; done`]);
  await until('the directory changes', () => statSync(directory, { bigint: true }).ctimeNs !== ctimeNs);
  return child;
}

describe('an image of a writable mount', () => {
  test('is that of the image below if nothing was changed', async () => {
    const words = newWords();
    await succeed(['cp', '-aT', '--attributes-only', '--no-preserve=links', source, words[0]?.slice(9) as string]);
    for (const name of readdirSync(words[0]?.slice(9) as string)) {
      rmSync(join(words[0]?.slice(9) as string, name), { recursive: true });
    }
    await succeed(['touch', '-r', source, words[0]?.slice(9) as string]);
    const mounted = await mount(words);
    const packed = await expectEqual(mounted);
    expect(readFileSync(packed.image).equals(readFileSync(image))).toBe(true);
  });

  test('has all changes, and reads only new contents', async () => {
    const mounted = await mount();
    changeMuch(mounted);
    const packed = await expectEqual(mounted);
    // of the image: b, its copied-up metadata, tool, large, empty, device; read: a, c, small, new
    expect(packed.files - packed.unchangedFiles).toBe(4);
    const next = await scratch.mount(packed.image);
    expect(readdirSync(next.at('etc')).sort()).toEqual(readdirSync(mounted.at('etc')).sort());
    expect(readFileSync(next.at('usr/moved/below/new'), 'utf8')).toBe('new');
  });

  test('is the same with each option', async () => {
    const mounted = await mount();
    changeMuch(mounted);
    for (const args of [
      ['--use-epoch'],
      ['--skip-xattrs'],
      ['--skip-devices'],
      ['--inline-max', '0'],
      ['--inline-max', '5000'],
    ]) {
      await expectEqual(mounted, ...args);
    }
    const sha = await scratch.pack(mounted.path, { store: scratch.at('sha'), args: ['--hash', 'fsverity-sha256'] });
    const all = await scratch.pack(mounted.path, { store: scratch.at('sha'), args: ['--rehash'] });
    expect(sha.id).toBe(all.id);
  });

  test('takes what another repository lacks from the mount', async () => {
    const mounted = await mount();
    changeMuch(mounted);
    const store = scratch.at('other');
    const packed = await scratch.pack(mounted.path, { store });
    expect(packed.newObjects).toBe(packed.objects);
    const next = await scratch.mount(packed.image, { repos: [store] });
    expect(readFileSync(next.at('usr/large'))).toEqual(Buffer.alloc(LARGE, 'large '));
  });

  test('is the same while other things are mounted in it, and of a part of it', async () => {
    const mounted = await mount();
    changeMuch(mounted);
    await expectEqual({ ...mounted, path: mounted.at('etc') } as unknown as Mounted);
    await mountTmpfs(mounted.at('empty'), '1m');
    try {
      await expectEqual(mounted, '--one-file-system');
      await expectEqual(mounted);
    } finally {
      await succeed(['umount', mounted.at('empty')]);
    }
  });

  test.each(EACH_STEP ? [11, 12, 13, 14] : [11, 12])('is the same after random changes (%i)', async (seed) => {
    const random = new Random(seed);
    const mounted = await mount();
    const changes = new RandomChanges(mounted.path, random);
    try {
      for (let round = 0; round < 6; round++) {
        for (let i = random.integer(1, 30); i > 0; i--) changes.step();
        await expectEqual(mounted);
      }
    } finally {
      changes.end();
    }
  });

  test('remembers the contents of changed files', async () => {
    const mounted = await mount();
    writeFileSync(mounted.at('etc/a'), 'new '.repeat(500));
    await succeed(['touch', '-d', '10 seconds ago', mounted.at('etc/a')]);
    const pack = (): Promise<Packed> => scratch.pack(mounted.path, { store: scratch.at('remembering') });
    await pack();
    await until('it is old enough', () => lstatSync(mounted.at('etc/a')).ctimeMs + SETTLED_MS < Date.now());
    await pack();
    const again = await pack();
    expect(again.files - again.unchangedFiles).toBe(0);
    writeFileSync(mounted.at('etc/a'), 'newer '.repeat(500));
    const changed = await pack();
    expect(changed.files - changed.unchangedFiles).toBe(1);
  });

  test('is refused if files change meanwhile, with their names', async () => {
    const mounted = await mount();
    for (let i = 0; i < 200; i++) writeFileSync(mounted.at('etc', `file-${i}`), `${i} `.repeat(50_000));
    const child = await changing(mounted.at('etc'));
    try {
      const { status, stderr } = await scratch.tool('cfs-mkimage', [
        '--quiet',
        mounted.path,
        scratch.at('refused.cfs'),
      ]);
      expect(status).toBe(EXIT.source);
      expect(stderr).toMatch(/changed while it was packed: .*\/etc/);
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('has what was written to a file that is still open for writing', async () => {
    const mounted = await mount();
    const before = readFileSync(mounted.at('etc/a'), 'utf8');
    const fd = openSync(mounted.at('etc/a'), 'a');
    try {
      writeSync(fd, 'x');
      const packed = await expectEqual(mounted);
      const next = await scratch.mount(packed.image);
      expect(readFileSync(next.at('etc/a'), 'utf8')).toBe(`${before}x`);
    } finally {
      closeSync(fd);
    }
  });
});

describe('cfs-info diff of a writable mount', () => {
  const diff = async (...args: readonly string[]): Promise<string> =>
    (await scratch.tool('cfs-info', ['diff', ...args])).stdout;

  test('is that of an image of it', async () => {
    const mounted = await mount();
    expect(await diff(mounted.path, mounted.path)).toBe('');
    changeMuch(mounted);
    // opened for writing, and the same
    closeSync(openSync(mounted.at('usr/large'), 'r+'));
    const { image: packed } = await scratch.pack(mounted.path);
    const lines = await diff(image, mounted.path);
    expect(lines).toBe(await diff(image, packed));
    expect(lines).toContain('M /usr/large  mode\n');
    expect(await diff(packed, mounted.path)).toBe('');
    expect(await diff(mounted.path, image)).toBe(await diff(packed, image));
  });
});

describe('cfs-info snapshot', () => {
  test('copies the upper layer, so that a mount with the copy shows the same inodes', async () => {
    const mounted = await mount();
    changeMuch(mounted);
    const to = scratch.at('snapshot');
    const { status, stdout } = await scratch.tool('cfs-info', ['snapshot', mounted.path, to]);
    expect([status, stdout]).toEqual([EXIT.ok, `upperdir=${to}/upper,workdir=${to}/work\n`]);
    const copy = await mount(stdout.trim().split(','));
    const { differences } = await compare(mounted.path, copy.path, { ignore: ['nlink'] });
    expect(differences).toEqual([]);
    for (const name of ['etc/a', 'usr/bin/tool', 'usr/linked', 'usr/moved/below/new', 'etc/b.linked']) {
      const [one, other] = [lstatSync(mounted.at(name)), lstatSync(copy.at(name))];
      expect([other.ino, other.nlink]).toEqual([one.ino, one.nlink]);
    }
    const again = await scratch.tool('cfs-info', ['snapshot', mounted.path, to]);
    expect(again).toMatchObject({ status: EXIT.usage, stderr: expect.stringContaining('it has entries') });
  });

  test('is refused if files change in every try, with their names, and leaves nothing', async () => {
    const mounted = await mount();
    changeMuch(mounted);
    const to = scratch.at('refused-snapshot');
    const child = await changing(mounted.at('etc'));
    try {
      const { status, stderr } = await scratch.tool('cfs-info', ['snapshot', mounted.path, to]);
      expect([status, existsSync(to)]).toEqual([EXIT.source, false]);
      expect(stderr).toMatch(/changed while it was copied: .*\/etc/);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('a handle of a writable mount', () => {
  test('opens in a mount of its image if the file is unchanged at its path, as docs/handles.md says', async () => {
    const mounted = await mount();
    const at = (name: string): string => mounted.at(name);
    chmodSync(at('etc/b'), 0o600);
    appendFileSync(at('etc/c'), 'more');
    renameSync(at('etc/a'), at('etc/z'));
    writeFileSync(at('etc/new'), 'new');
    mkdirSync(at('etc/new-directory'));
    writeFileSync(at('usr/share/doc/more'), '');
    renameSync(at('moved'), at('usr/moved'));
    const names = [
      'etc/b',
      'etc/c',
      'etc/z',
      'etc/new',
      'etc/new-directory',
      'usr/share/doc',
      'usr/moved',
      'usr/large',
    ];
    const handles = names.map((name) => handleOf(at(name)));
    const { image: packed } = await scratch.pack(mounted.path);
    const next = await scratch.mount(packed);
    const inNext = (i: number): string => refusalOf(next.path, handles[i] as FileHandle, O_PATH).replace(/ as \d+/, '');
    expect(names.map((name, i) => `${name} ${inNext(i)}`)).toEqual([
      'etc/b opened',
      'etc/c ESTALE',
      'etc/z ESTALE',
      'etc/new ESTALE',
      'etc/new-directory ESTALE',
      'usr/share/doc opened',
      'usr/moved ESTALE',
      'usr/large opened',
    ]);
    expect(names.map((name) => handleOf(at(name)))).toEqual(handles);
    for (const [i, name] of names.entries()) {
      const fd = openedHandle(mounted.path, handles[i] as FileHandle, O_PATH);
      expect(fstatSync(fd).ino).toBe(lstatSync(at(name)).ino);
    }
  });
});
