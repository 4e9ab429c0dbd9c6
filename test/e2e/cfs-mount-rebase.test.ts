/** `cfs-mount --rebase`: a writable mount goes on over the image that was made of it, with its files open. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  constants,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { beforeAll, describe, expect, test } from 'vitest';
import { O_PATH } from '../../src/system/libc.ts';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { EACH_STEP } from '../support/sample.ts';
import { mountTmpfs } from './cli.ts';
import { closeAfterEach, closeHandles, closeLater, handleOf, openedHandle, refusalOf } from './handle-calls.ts';
import { type Mounted, type Packed, useScratch } from './harness.ts';
import { type Layers, newLayers, newLayersIn } from './layers.ts';
import { useOverlays } from './overlay.ts';
import { RandomChanges } from './random-changes.ts';
import { endOf, HERE, type Outcome, type Place, succeed } from './run.ts';
import { dropCaches, until } from './system.ts';

const scratch = useScratch();
const overlayOn = useOverlays(scratch);
closeAfterEach();
const LARGE = 200_000;
const LONG = 1_200_000;

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  for (const directory of ['etc', 'usr/bin', 'moved/below', 'gone', 'empty']) {
    mkdirSync(join(source, directory), { recursive: true });
  }
  for (const file of ['etc/a', 'etc/b', 'etc/c', 'etc/log', 'usr/bin/tool', 'moved/below/deep', 'gone/file']) {
    writeFileSync(join(source, file), `${file} `.repeat(100));
  }
  writeFileSync(join(source, 'usr/large'), Buffer.alloc(LARGE, 'large '));
  writeFileSync(join(source, 'moved/large'), Buffer.alloc(LARGE, 'moved '));
  writeFileSync(join(source, 'usr/unlinked'), Buffer.alloc(LARGE, 'unlinked '));
  linkSync(join(source, 'usr/bin/tool'), join(source, 'usr/bin/also-tool'));
  symlinkSync('a', join(source, 'etc/link'));
  await succeed(['setfattr', '-n', 'user.note', '-v', 'of the image', join(source, 'etc/c')]);
  image = (await scratch.pack(source)).image;
});

const rebase = (mounted: Mounted, to: string, place: Place = HERE): Promise<Outcome> =>
  scratch.tool('cfs-mount', ['--rebase', to, mounted.path], place);

async function mustRebase(mounted: Mounted, { image: to }: Pick<Packed, 'image'>): Promise<string> {
  const { status, stdout, stderr } = await rebase(mounted, to);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return stdout;
}

/** Every kind of change. */
function changeMuch({ path }: Pick<Mounted, 'path'>): void {
  const at = (name: string): string => join(path, name);
  renameSync(at('etc/log'), at('etc/log.1'));
  writeFileSync(at('etc/log'), 'new log');
  chmodSync(at('etc/b'), 0o600);
  appendFileSync(at('etc/c'), 'more');
  renameSync(at('moved'), at('renamed'));
  writeFileSync(at('renamed/below/new'), 'new');
  rmSync(at('gone'), { recursive: true });
  mkdirSync(at('made/below'), { recursive: true });
  writeFileSync(at('made/below/file'), 'made');
  writeFileSync(at('made/large'), Buffer.alloc(LARGE, 'made '));
  linkSync(at('made/below/file'), at('made/linked'));
  rmSync(at('usr/bin/also-tool'));
  linkSync(at('usr/bin/tool'), at('usr/linked'));
  symlinkSync('else', at('etc/new-link'));
  rmSync(at('empty'), { recursive: true });
  writeFileSync(at('empty'), 'a file');
  utimesSync(at('usr'), 1, 2);
}

interface Entry {
  readonly ino: number;
  readonly mode: number;
  readonly owner: string;
  readonly mtime: bigint;
  /** Of a file: the names, and its bytes. */
  readonly nlink: number;
  readonly content: string;
}

/** All that is in a tree, by paths. */
function treeOf(root: string): Map<string, Entry> {
  const tree = new Map<string, Entry>();
  const visit = (path: string): void => {
    const stat = lstatSync(join(root, path), { bigint: true });
    const isDirectory = stat.isDirectory();
    tree.set(path, {
      ino: Number(stat.ino),
      mode: Number(stat.mode),
      owner: `${stat.uid}:${stat.gid}`,
      mtime: stat.mtimeNs,
      nlink: isDirectory ? 0 : Number(stat.nlink),
      content: isDirectory
        ? ''
        : stat.isSymbolicLink()
          ? readlinkSync(join(root, path))
          : stat.isFile()
            ? createHash('sha256')
                .update(readFileSync(join(root, path)))
                .digest('hex')
            : '',
    });
    if (isDirectory) for (const name of readdirSync(join(root, path))) visit(join(path, name));
  };
  visit('');
  return tree;
}

const byPath = (tree: Map<string, Entry>): [string, Entry][] => [...tree].sort(([a], [b]) => (a < b ? -1 : 1));
const withoutIds = (tree: Map<string, Entry>): [string, Omit<Entry, 'ino'>][] =>
  byPath(tree).map(([path, { ino: _, ...entry }]) => [path, entry]);

/** The paths in an upper directory. */
function pathsIn(upper: string, path = ''): string[] {
  return readdirSync(join(upper, path), { withFileTypes: true })
    .flatMap((entry) => {
      const below = join(path, entry.name);
      return [below, ...(entry.isDirectory() ? pathsIn(upper, below) : [])];
    })
    .sort();
}

const imageIdOf = async ({ path }: Mounted): Promise<string> => {
  const { stdout } = await scratch.tool('cfs-info', ['sources', '--json', path]);
  return (JSON.parse(stdout) as { sources: { kind: string; id: string }[] }).sources[0]?.id as string;
};

const leftInWork = (work: string): string[] => readdirSync(join(work, 'cfs')).filter((name) => /rebase/.test(name));

/** Runs `work` with a variable in the environment. */
async function withVariable<T>(name: string, value: string, work: () => Promise<T>): Promise<T> {
  process.env[name] = value;
  try {
    return await work();
  } finally {
    delete process.env[name];
  }
}

const but = <T>(list: readonly (readonly [string, T])[], path: string) => list.filter(([one]) => one !== path);

/** A new mount of the image with the layers of another one, and an overlayfs on them, show the same tree. */
async function expectSameLater(mounted: Mounted, layers: Layers, to: string): Promise<void> {
  const tree = withoutIds(treeOf(mounted.path));
  await mounted.unmount();
  const again = await scratch.mount(to, { words: layers.words });
  expect(withoutIds(treeOf(again.path))).toEqual(tree);
  await again.unmount();
  const alone = await scratch.mount(to);
  const overlay = await overlayOn([alone.path], layers.base, ['metacopy=on']);
  const shown = withoutIds(treeOf(overlay.at));
  await overlay.unmount();
  // its link counts are those of the upper layer, for files of the image with several names
  const withoutLinks = (list: typeof shown) => list.map(([path, { nlink: _, ...entry }]) => [path, entry]);
  expect(withoutLinks(shown)).toEqual(withoutLinks(tree));
}

describe('cfs-mount --rebase', () => {
  test('goes on over the image of the mount, with an empty upper layer and the same inodes', async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    changeMuch(mounted);
    const packed = await scratch.pack(mounted.path);
    const before = treeOf(mounted.path);
    expect(await mustRebase(mounted, packed)).toMatch(
      new RegExp(`^${mounted.path}: image [0-9a-f]{8}… -> ${packed.id.slice(0, 8)}…; no file in the upper layer\n$`),
    );
    expect(pathsIn(layers.upper)).toEqual([]);
    expect(leftInWork(layers.work)).toEqual([]);
    expect(await imageIdOf(mounted)).toBe(packed.id);
    const after = treeOf(mounted.path);
    expect(byPath(after)).toEqual(byPath(before));
    expect((await scratch.tool('cfs-info', ['changes', mounted.path])).status).toBe(EXIT.ok);
    expect((await scratch.tool('cfs-info', ['diff', packed.image, mounted.path])).stdout).toBe('');
    // a list of the mount makes it again
    const { stdout: list } = await scratch.tool('cfs-info', ['sources', '--json', mounted.path]);
    writeFileSync(scratch.at('sources.json'), list);
    expect(JSON.parse(list)).toMatchObject({ sources: [{ path: packed.image, id: packed.id }, {}, {}, {}] });
    await expectSameLater(mounted, layers, packed.image);
  });

  test('keeps open files, whatever they are', async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    const open = (name: string, flags: string | number): number => closeLater(openSync(mounted.at(name), flags));
    const ofImage = open('usr/large', 'r');
    const unlinked = open('usr/unlinked', 'r');
    unlinkSync(mounted.at('usr/unlinked'));
    const removed = open('gone', constants.O_RDONLY | constants.O_DIRECTORY);
    const copiedUp = open('etc/a', 'r');
    appendFileSync(mounted.at('etc/a'), 'appended');
    changeMuch(mounted);
    const log = open('etc/log', 'a');
    const ofMoved = open('renamed/large', 'r');
    const made = open('made/large', 'r+');
    writeFileSync(mounted.at('temporary'), 'temporary');
    const temporary = open('temporary', 'r+');
    unlinkSync(mounted.at('temporary'));
    const named = open('made/linked', O_PATH);
    const packed = await scratch.pack(mounted.path);
    const files = [ofImage, unlinked, removed, copiedUp, log, ofMoved, made, temporary, named];
    const before = files.map((fd) => fstatSync(fd).ino);
    await mustRebase(mounted, packed);
    expect(files.map((fd) => fstatSync(fd).ino)).toEqual(before);
    for (const [fd, name] of [
      [ofImage, 'usr/large'],
      [copiedUp, 'etc/a'],
      [log, 'etc/log'],
      [ofMoved, 'renamed/large'],
      [made, 'made/large'],
      [named, 'made/linked'],
    ] as const) {
      expect([name, fstatSync(fd).ino]).toEqual([name, lstatSync(mounted.at(name)).ino]);
    }
    const contentOf = (fd: number): string => readFileSync(`/proc/self/fd/${fd}`, 'utf8');
    expect(contentOf(ofImage)).toBe('large '.repeat(LARGE).slice(0, LARGE));
    const whole = Buffer.alloc(LARGE + 1);
    expect(readSync(unlinked, whole, 0, whole.length, 0)).toBe(LARGE);
    expect(whole.subarray(0, LARGE).equals(Buffer.alloc(LARGE, 'unlinked '))).toBe(true);
    expect(fstatSync(unlinked).nlink).toBe(0);
    expect(fstatSync(removed).nlink).toBe(0);
    expect(contentOf(ofMoved)).toBe('moved '.repeat(LARGE).slice(0, LARGE));
    // what is written to a file goes where its name is, before the rebase and after it
    writeSync(log, ' and more');
    expect(readFileSync(mounted.at('etc/log'), 'utf8')).toBe('new log and more');
    writeSync(made, 'MADE', 0);
    appendFileSync(mounted.at('made/large'), 'end');
    expect(contentOf(made)).toBe(`MADE${'made '.repeat(LARGE).slice(4, LARGE)}end`);
    writeSync(temporary, 'T', 0);
    expect(contentOf(temporary).toLowerCase()).toBe('temporary');
    // a writer of a file that others read, in the image by now
    appendFileSync(mounted.at('renamed/large'), 'more');
    const tail = Buffer.alloc(4);
    readSync(ofMoved, tail, 0, 4, LARGE);
    expect(tail.toString()).toBe('more');
    for (const fd of files.slice(3)) expect(fstatSync(fd).size).toBeGreaterThan(0);
    const { status } = await rebase(mounted, (await scratch.pack(mounted.path)).image);
    expect(status).toBe(EXIT.ok);
    expect(readFileSync(mounted.at('renamed/large'), 'utf8')).toBe(`${'moved '.repeat(LARGE).slice(0, LARGE)}more`);
  });

  test('keeps mappings, working directories and locks of processes', async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    changeMuch(mounted);
    writeFileSync(mounted.at('made/mapped'), Buffer.alloc(LARGE, '.'));
    const program = join(import.meta.dirname, 'rebase-holder.py');
    const child = spawn('python3', [program, 'made/mapped', 'etc/log.1'], {
      cwd: mounted.at('renamed/below'),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const ask = async (word: string): Promise<unknown> => {
      child.stdin.write(`${word}\n`);
      return JSON.parse((await lines.next()).value as string);
    };
    try {
      expect(await ask('begin')).toBe('ready');
      const packed = await scratch.pack(mounted.path);
      await mustRebase(mounted, packed);
      expect(await ask('cwd')).toEqual([mounted.at('renamed/below'), ['deep', 'new']]);
      expect(await ask('store')).toBe('stored');
      expect(readFileSync(mounted.at('made/mapped'), 'utf8').slice(0, 8)).toBe('stored..');
      writeFileSync(mounted.at('made/mapped'), 'written ', { flag: 'r+' });
      expect(await ask('load')).toBe('written ');
      expect((await scratch.tool('cfs-info', ['changes', mounted.path])).stdout).toMatch(/^M \/made\/mapped/m);
      // the lock is still held
      await expect(succeed(['flock', '-n', mounted.at('etc/log.1'), 'true'])).rejects.toThrow('status 1');
      expect(await ask('make')).toBe('made');
      expect(readFileSync(mounted.at('renamed/below/by-cwd'), 'utf8')).toBe('made');
    } finally {
      await endOf(child);
    }
  });

  test('loses nothing of what programs write meanwhile', async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    const own = mounted.at('written');
    mkdirSync(own);
    changeMuch(mounted);
    const packed = await scratch.pack(mounted.path);
    const child = spawn('python3', [join(import.meta.dirname, 'rebase-writer.py'), own], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    try {
      expect((await lines.next()).value).toBe('ready');
      const written = (): number => lstatSync(join(own, 'log')).size;
      for (let i = 0; i < 3; i++) {
        const before = written();
        await until('it writes', () => written() > before);
        await mustRebase(mounted, packed);
      }
      child.stdin.end();
      const count = Number((await lines.next()).value);
      const numbers = Array.from({ length: count }, (_, i) => i + 1);
      expect(readFileSync(join(own, 'log'), 'utf8')).toBe(numbers.map((n) => `${n}\n`).join(''));
      expect(lstatSync(join(own, 'log')).mode & 0o777).toBe(0o600 + (count % 64));
      for (const name of readdirSync(own).filter((one) => one.startsWith('file-'))) {
        const last = Number(readFileSync(join(own, name), 'utf8'));
        expect([name, last > count - 100]).toEqual([`file-${last % 100}`, true]);
      }
      const [quick, whole] = [
        await scratch.pack(mounted.path),
        await scratch.pack(mounted.path, { args: ['--rehash'] }),
      ];
      expect(quick.id).toBe(whole.id);
    } finally {
      await endOf(child);
    }
  });

  test('leaves what changed since in the upper layer, and nothing else', async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    changeMuch(mounted);
    const packed = await scratch.pack(mounted.path);
    appendFileSync(mounted.at('etc/a'), 'since');
    appendFileSync(mounted.at('made/large'), 'since');
    chmodSync(mounted.at('renamed/large'), 0o640);
    writeFileSync(mounted.at('renamed/since'), 'since');
    unlinkSync(mounted.at('renamed/below/deep'));
    unlinkSync(mounted.at('etc/new-link'));
    renameSync(mounted.at('etc/log.1'), mounted.at('etc/log.2'));
    rmSync(mounted.at('made/below'), { recursive: true });
    mkdirSync(mounted.at('gone'));
    writeFileSync(mounted.at('gone/file'), 'again');
    const before = treeOf(mounted.path);
    expect(await mustRebase(mounted, packed)).toContain('files in the upper layer');
    expect(byPath(treeOf(mounted.path))).toEqual(byPath(before));
    expect(pathsIn(layers.upper)).toEqual([
      'etc',
      'etc/a',
      'etc/log.1',
      'etc/log.2',
      'etc/new-link',
      'gone',
      'gone/file',
      'made',
      'made/below',
      'made/large',
      'made/linked',
      'renamed',
      'renamed/below',
      'renamed/below/deep',
      'renamed/large',
      'renamed/since',
    ]);
    // the next image has it all
    const next = await scratch.pack(mounted.path);
    const { id } = await scratch.pack(mounted.path, { args: ['--rehash'] });
    expect(next.id).toBe(id);
    await expectSameLater(mounted, layers, packed.image);
  });

  test('refuses an image that lacks what the mount has, and goes on', async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    changeMuch(mounted);
    const packed = await scratch.pack(mounted.path);
    const before = byPath(treeOf(mounted.path));
    const other = scratch.directory('other');
    writeFileSync(join(other, 'file'), 'other');
    const wrong = await scratch.pack(other);
    const expectRefused = async (to: string, ...texts: readonly string[]): Promise<void> => {
      const { status, stdout, stderr } = await rebase(mounted, to);
      expect({ status, stdout }).toEqual({ status: EXIT.mount, stdout: '' });
      for (const text of texts) expect(stderr).toContain(text);
      expect(leftInWork(layers.work)).toEqual([]);
      expect(byPath(treeOf(mounted.path))).toEqual(before);
    };
    await expectRefused(wrong.image, 'does not have what the mount has', '/etc/a: it is not in the new image');
    await expectRefused(image, '/renamed/large: it is not in the new image');
    writeFileSync(scratch.at('text'), 'no image');
    await expectRefused(scratch.at('text'), 'Cannot read image');
    await expectRefused(scratch.at('missing'), 'Cannot read image');
    const elsewhere = await scratch.pack(mounted.path, { store: scratch.at('elsewhere') });
    expect(elsewhere.id).toBe(packed.id);
    const lacking = await scratch.mount(image, { words: newLayers(scratch).words, repos: [scratch.store] });
    writeFileSync(lacking.at('only-elsewhere'), Buffer.alloc(LARGE, 'only elsewhere'));
    const unknown = await scratch.pack(lacking.path, { store: scratch.at('elsewhere') });
    const missing = await rebase(lacking, unknown.image);
    expect(missing.stderr).toContain('1 of its new objects are in no repository of the mount');
    expect(readFileSync(lacking.at('only-elsewhere'), 'utf8')).toMatch(/^only/);
    // a directory of the image was moved since
    renameSync(mounted.at('renamed'), mounted.at('moved'));
    const { status, stderr } = await rebase(mounted, packed.image);
    expect(status).toBe(EXIT.mount);
    expect(stderr).toContain('/moved/large: it is not in the new image');
    renameSync(mounted.at('moved'), mounted.at('renamed'));
    await mustRebase(mounted, packed);
    // on the image that it has: what is the same leaves the upper layer
    writeFileSync(mounted.at('etc/a'), 'etc/a '.repeat(100));
    utimesSync(mounted.at('etc/a'), 1, 1);
    chmodSync(mounted.at('etc/b'), 0o600);
    expect(await mustRebase(mounted, packed)).toContain('1 file in the upper layer');
    expect(pathsIn(layers.upper)).toEqual(['etc', 'etc/a']);
  });

  test('refuses mounts that it cannot do this with', async () => {
    const readOnly = await scratch.mount(image);
    expect((await rebase(readOnly, image)).stderr).toContain('it has no upper layer');
    const noIndex = await scratch.mount(image, { words: newLayers(scratch, 'index=off').words });
    expect((await rebase(noIndex, image)).stderr).toContain('a mount with index=off cannot be rebased');
    const alone = await scratch.mount(image, { words: newLayers(scratch, 'restart=off').words });
    const { status, stderr } = await rebase(alone, image);
    expect(status).toBe(EXIT.usage);
    expect(stderr).toContain('no supervisor of its server');
    for (const args of [
      ['--rebase', image],
      ['--rebase', image, alone.path, 'more'],
      ['--rebase', '', alone.path],
    ]) {
      expect((await scratch.tool('cfs-mount', args)).status).toBe(EXIT.usage);
    }
    expect((await scratch.tool('cfs-mount', ['--rebase', image, source])).stderr).toContain('not in a mount of cfs');
  });

  test('can be repeated, with random changes and open files', { timeout: LONG }, async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    const random = new Random(7);
    let latest = image;
    for (let round = 0; round < (EACH_STEP ? 4 : 2); round++) {
      const changes = new RandomChanges(mounted.path, random);
      for (let i = 0; i < 150; i++) changes.step();
      const packed = await scratch.pack(mounted.path);
      for (let i = 0; i < round * 3; i++) changes.step();
      const before = treeOf(mounted.path);
      const { status, stderr } = await rebase(mounted, packed.image);
      expect(byPath(treeOf(mounted.path))).toEqual(byPath(before));
      if (status === EXIT.ok) latest = packed.image;
      // a directory may have been moved since, or a file with several names changed
      else expect(stderr).toMatch(/it is not in the new image|it has several names/);
      if (round === 0) expect(stderr).toBe('');
      changes.end();
      const [quick, whole] = [
        await scratch.pack(mounted.path),
        await scratch.pack(mounted.path, { args: ['--rehash'] }),
      ];
      expect(quick.id).toBe(whole.id);
    }
    await expectSameLater(mounted, layers, latest);
  });

  test('in a user namespace, with userxattr', async () => {
    const layers = newLayers(scratch, 'userxattr');
    const place = await scratch.namespace('rebase');
    const mounted = await scratch.mount(image, { words: layers.words, place });
    const shell = (script: string): Promise<string> => succeed(place.command('sh', '-c', script, 'sh', mounted.path));
    await shell(
      'cd "$1"; mv etc/log etc/log.1; echo new > etc/log; chmod 600 etc/b; mkdir made; echo made > made/file',
    );
    const list = 'cd "$1"; find . -printf "%p %i %m %T@ %l\\n" | sort; find . -type f -exec cat {} + | sha256sum';
    const before = await shell(list);
    const to = scratch.at('of-namespace.cfs');
    const packed = await scratch.tool('cfs-mkimage', ['--no-fsync', '--store', scratch.store, mounted.path, to], place);
    expect(packed.stderr).toBe('');
    const { status, stderr } = await rebase(mounted, to, place);
    expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
    expect(await shell(list)).toBe(before);
    await shell('cd "$1"; echo more >> etc/log; echo more >> made/file; test "$(cat made/file)" = "made\nmore"');
  });
});

describe('handles across a rebase', () => {
  test('stay valid in the mount; in another mount of the new image as after packing', async () => {
    const layers = newLayers(scratch);
    const mounted = await scratch.mount(image, { words: layers.words });
    changeMuch(mounted);
    const names = [
      'usr/large',
      'etc/b',
      'etc/c',
      'etc/log',
      'etc/log.1',
      'renamed',
      'renamed/large',
      'made',
      'made/large',
      'usr/linked',
    ];
    const handles = new Map(names.map((name) => [name, handleOf(mounted.at(name))]));
    const packed = await scratch.pack(mounted.path);
    const inodes = new Map(names.map((name) => [name, lstatSync(mounted.at(name)).ino]));
    await mustRebase(mounted, packed);
    for (const drop of [false, true]) {
      if (drop) dropCaches();
      for (const [name, handle] of handles) {
        const fd = openedHandle(mounted.path, handle, O_PATH);
        expect([name, fstatSync(fd).ino]).toEqual([name, inodes.get(name)]);
      }
    }
    const other = await scratch.mount(packed.image);
    for (const name of ['usr/large', 'etc/b']) {
      expect(fstatSync(openedHandle(other.path, handles.get(name) as never, O_PATH)).ino).toBe(inodes.get(name));
    }
    for (const name of ['etc/c', 'etc/log', 'etc/log.1', 'renamed', 'renamed/large', 'made', 'made/large']) {
      expect([name, refusalOf(other.path, handles.get(name) as never, O_PATH)]).toEqual([name, 'ESTALE']);
    }
  });
});

/** Every step in the long run of `make test-posix`. */
const STRIDE = EACH_STEP ? 1 : 8;

describe('a rebase that is interrupted', () => {
  test('by a kill before a step leaves the mount before or after', { timeout: LONG }, async () => {
    const prepared = newLayers(scratch);
    const first = await scratch.mount(image, { words: prepared.words });
    changeMuch(first);
    const packed = await scratch.pack(first.path);
    writeFileSync(first.at('renamed/since'), 'since');
    unlinkSync(first.at('etc/new-link'));
    const tree = withoutIds(treeOf(first.path));
    await first.unmount();
    const log = scratch.at('log');
    const kills = { before: 0, after: 0 };
    let layers = prepared;
    let mounted: Mounted | undefined;
    let held = -1;
    let inodes: ReturnType<typeof byPath> = [];
    for (let step = 1; ; ) {
      if (mounted === undefined) {
        layers = newLayers(scratch);
        await succeed(['cp', '-aT', prepared.base, layers.base]);
        mounted = await withVariable('CFS_FAIL_UPPER_AT', 'nowhere', () =>
          scratch.mount(image, { words: layers.words, args: ['--log', log] }),
        );
        held = closeLater(openSync(mounted.at('made/large'), 'r+'));
        inodes = byPath(treeOf(mounted.path));
      }
      writeFileSync(log, '');
      const { path } = mounted;
      const { status } = await withVariable('CFS_FAIL_REBASE_AT', `main:${step}:kill`, () =>
        scratch.tool('cfs-mount', ['--rebase', packed.image, path]),
      );
      const isAfter = (await imageIdOf(mounted)) === packed.id;
      const wasKilled = readFileSync(log, 'utf8').includes('2 in a row; this one continues');
      expect([step, status]).toEqual([step, isAfter ? EXIT.ok : EXIT.mount]);
      expect([step, leftInWork(layers.work)]).toEqual([step, []]);
      expect([step, byPath(treeOf(path))]).toEqual([step, inodes]);
      expect([step, fstatSync(held).ino]).toEqual([step, lstatSync(mounted.at('made/large')).ino]);
      if (wasKilled) kills[isAfter ? 'after' : 'before']++;
      if (!isAfter) {
        step += STRIDE;
        continue;
      }
      writeSync(held, 'held', 0);
      expect(readFileSync(mounted.at('made/large'), 'utf8').slice(0, 4)).toBe('held');
      closeHandles();
      await mounted.unmount();
      mounted = undefined;
      const again = await scratch.mount(packed.image, { words: layers.words });
      expect(but(withoutIds(treeOf(again.path)), 'made/large')).toEqual(but(tree, 'made/large'));
      await again.unmount();
      // there is no such step
      if (!wasKilled) break;
      // the steps that carry out the plan are many of one kind
      step += 17;
    }
    expect(kills.before).toBeGreaterThan(15 / STRIDE);
    expect(kills.after).toBeGreaterThan(2);
  });

  test('by a full disk leaves the mount before or after, and nothing on the disk', { timeout: LONG }, async () => {
    const disk = await mountTmpfs(scratch.directory('disk'), '16m');
    const layers = newLayersIn(disk);
    const mounted = await scratch.mount(image, { words: layers.words });
    changeMuch(mounted);
    const packed = await scratch.pack(mounted.path);
    unlinkSync(mounted.at('etc/new-link'));
    const unlinked = closeLater(openSync(mounted.at('usr/unlinked'), 'r'));
    unlinkSync(mounted.at('usr/unlinked'));
    const held = closeLater(openSync(mounted.at('made/large'), 'r+'));
    const inodes = byPath(treeOf(mounted.path));
    const filler = openSync(join(disk, 'filler'), 'w');
    const free = (): number => Number(statfsSync(disk).bfree);
    let refused = 0;
    for (let pages = 0, isAfter = false; !isAfter; pages = pages * 4 || 16) {
      ftruncateSync(filler, 0);
      const before = free();
      writeSync(filler, Buffer.alloc((before - pages) * 4096));
      expect(free()).toBe(pages);
      const { status, stderr } = await rebase(mounted, packed.image);
      isAfter = (await imageIdOf(mounted)) === packed.id;
      expect([pages, status, stderr]).toEqual([pages, isAfter ? EXIT.ok : EXIT.mount, isAfter ? '' : stderr]);
      expect(byPath(treeOf(mounted.path))).toEqual(inodes);
      if (isAfter) break;
      refused++;
      expect(stderr).toMatch(
        /^cfs-mount: Cannot rebase .*: no space left on device\. Make room on the file system of the upper layer/,
      );
      expect([pages, leftInWork(layers.work)]).toEqual([pages, []]);
      ftruncateSync(filler, 0);
      expect(free()).toBe(before);
    }
    expect(refused).toBeGreaterThan(1);
    const content = Buffer.alloc(LARGE);
    expect(readSync(unlinked, content, 0, LARGE, 0)).toBe(LARGE);
    expect(content.equals(Buffer.alloc(LARGE, 'unlinked '))).toBe(true);
    writeSync(held, 'held', 0);
    expect(readFileSync(mounted.at('made/large'), 'utf8').slice(0, 4)).toBe('held');
    closeHandles();
    await expectSameLater(mounted, layers, packed.image);
  });
});
