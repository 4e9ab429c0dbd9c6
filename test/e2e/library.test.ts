/** The library: its functions and refusals, and that it changes nothing in the process of its user. */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  CfsError,
  checkRepository,
  collectGarbage,
  computeImageId,
  copyImages,
  diffImages,
  directoryUsage,
  exportImages,
  type ImageEntry,
  importImages,
  listImages,
  openImage,
  pack,
  pruneDirectory,
  pullImage,
  pushImages,
  repositoryUsage,
  tarImage,
  unmount,
  unregisterImage,
} from '../../src/index.ts';
import { useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { run } from './run.ts';

const ROOT = join(import.meta.dirname, '../..');
const scratch = useScratch();
const BIG = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7) % 251));

let source: string;
let image: string;
const store = scratch.at('library-store');

const failureOf = async (work: () => unknown): Promise<CfsError> => {
  try {
    await work();
  } catch (error) {
    expect(error).toBeInstanceOf(CfsError);
    return error as CfsError;
  }
  throw new Error('it did not fail');
};

beforeAll(async () => {
  source = scratch.directory('source');
  image = scratch.at('tree.cfs');
  mkdirSync(join(source, 'dir/deep'), { recursive: true });
  writeFileSync(join(source, 'big'), BIG);
  writeFileSync(join(source, 'dir/small'), 'small');
  writeFileSync(join(source, 'dir/empty'), '');
  writeFileSync(Buffer.from(join(source, 'dir/\xff'), 'latin1'), 'name');
  symlinkSync('small', join(source, 'dir/link'));
  const { files } = await pack(source, image, { repository: store });
  expect(files).toBe(4);
});

describe('an image', () => {
  test('is walked in path order, as a whole or in part', () => {
    const opened = openImage(image);
    const paths = (entries: Iterable<ImageEntry>): string[] => [...entries].map(({ path }) => path);
    const dir = ['/dir/deep', '/dir/empty', '/dir/link', '/dir/small', '/dir/\udcff'];
    expect(paths(opened.walk())).toEqual(['/', '/big', '/dir', ...dir]);
    expect(paths(opened.walk('dir/'))).toEqual(['/dir', ...dir]);
    expect(paths(opened.list('//dir'))).toEqual(dir);
    expect(paths(opened.walk('/big'))).toEqual(['/big']);
    expect(paths(opened.list('/dir/deep'))).toEqual([]);
  });

  test('has the data of lstat(2) for each name', () => {
    const opened = openImage(image);
    const link = opened.lookup('/dir/link') as ImageEntry;
    expect([link.type, Buffer.from(link.target ?? []).toString(), link.digest]).toEqual([
      'symlink',
      'small',
      undefined,
    ]);
    expect(opened.lookup('big')).toMatchObject({ type: 'file', size: BIG.length, links: 1, path: '/big' });
    expect(opened.lookup('/big')?.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(opened.lookup(Buffer.from('/dir/\xff', 'latin1'))?.size).toBe(4);
    expect(opened.lookup('/dir/\udcff')?.size).toBe(4);
    for (const path of ['/nothing', '/big/', '/big/x', '/dir/small/..']) expect(opened.lookup(path)).toBeUndefined();
  });

  test('is refused if it is not the requested one', async () => {
    const { id, verityDigest } = openImage(image);
    expect(openImage(image, { digest: verityDigest }).id).toBe(id);
    expect((await failureOf(() => openImage(image, { digest: '0'.repeat(64) }))).kind).toBe('image');
    expect((await failureOf(() => openImage(image, { keys: [] }))).message).toContain('it is not signed');
    expect((await failureOf(() => openImage('/a\udcff'))).message).toContain('paths must be UTF-8');
    expect((await failureOf(() => openImage(''))).kind).toBe('usage');
  });
});

describe('readFile()', () => {
  const opened = () => openImage(image, { repositories: [store] });

  test('reads whole files and parts of them', () => {
    const tree = opened();
    expect(tree.readFile('/big').equals(BIG)).toBe(true);
    for (const [offset, length] of [
      [0, 1],
      [65_535, 2],
      [65_536, 65_536],
      [199_999, 10],
      [200_000, 1],
      [300_000, 5],
      [1, 0],
    ] as const) {
      const part = tree.readFile('big', { offset, length });
      expect(part.equals(BIG.subarray(offset, offset + length)), `${offset} ${length}`).toBe(true);
    }
    expect(tree.readFile('/dir/small', { offset: 2 }).toString()).toBe('all');
    expect(tree.readFile('/dir/empty').length).toBe(0);
    tree.close();
    expect(tree.readFile('/big', { length: 3 }).equals(BIG.subarray(0, 3))).toBe(true);
    tree.close();
  });

  test('refuses paths that are not files, and invalid ranges', async () => {
    const tree = opened();
    expect((await failureOf(() => tree.readFile('/dir'))).message).toMatch(
      /Cannot read \/dir of image .*not a regular/,
    );
    expect((await failureOf(() => tree.readFile('/none'))).message).toContain('there is no such path in it');
    for (const range of [{ offset: -1 }, { length: -1 }, { offset: 0.5 }, { length: Number.NaN }])
      expect((await failureOf(() => tree.readFile('/big', range))).kind).toBe('usage');
  });

  test('reports each time why there is no good copy, and returns nothing of a bad one', async () => {
    const bare = openImage(image);
    for (let i = 0; i < 2; i++) {
      const error = await failureOf(() => bare.readFile('/big'));
      expect(error).toMatchObject({ kind: 'store', hint: 'Open the image with `repositories`.' });
      expect(error.message).toMatch(/\/big: object [0-9a-f]{64}: no repository was given/);
    }
    const digest = bare.lookup('/big')?.digest as string;
    const object = join(store, 'objects', digest.slice(0, 2), digest.slice(2));
    renameSync(object, `${object}-away`);
    try {
      writeFileSync(object, Buffer.from(BIG).fill(0, 100_000, 100_001));
      const tree = opened();
      expect(tree.readFile('/big', { length: 60_000 }).equals(BIG.subarray(0, 60_000))).toBe(true);
      expect((await failureOf(() => tree.readFile('/big'))).message).toContain('its content is corrupted');
      truncateSync(object, 10);
      expect((await failureOf(() => opened().readFile('/big'))).message).toContain('it is truncated');
      expect([...opened().missing()]).toEqual([{ digest, size: BIG.length }]);
    } finally {
      renameSync(`${object}-away`, object);
    }
    expect([...opened().missing()]).toEqual([]);
  });
});

describe('diffImages()', () => {
  test('has the entries of both images', async () => {
    const other = scratch.at('other.cfs');
    writeFileSync(join(source, 'dir/small'), 'other');
    writeFileSync(join(source, 'dir/new'), '');
    await pack(source, other, { repository: store });
    const changes = [...diffImages(image, openImage(other))];
    expect(changes.map(({ kind, path }) => `${kind} ${path}`)).toContain('added /dir/new');
    const changed = changes.find(({ path }) => path === '/dir/small');
    expect(changed).toMatchObject({ kind: 'changed', what: expect.arrayContaining(['content']), below: 0 });
    expect(changed?.old?.size).toBe(changed?.new?.size);
    const controller = new AbortController();
    const { signal } = controller;
    const seen: number[] = [];
    const onProgress = (done: number): void => void (seen.push(done) === 2 && controller.abort());
    expect((await failureOf(() => [...diffImages(image, other, { signal, onProgress })])).kind).toBe('interrupted');
    expect(seen).toEqual([1, 2]);
    // there is no change to look at the signal for
    expect((await failureOf(() => [...diffImages(image, image, { signal })])).kind).toBe('interrupted');
  });
});

describe('work on a repository', () => {
  test('ends when its signal is aborted, and leaves no image', async () => {
    const signal = AbortSignal.abort();
    const never = scratch.at('never.cfs');
    const work = [
      () => pack(source, never, { repository: store, signal }),
      () => collectGarbage(store, { signal }),
      () => checkRepository(store, { signal }),
    ];
    for (const each of work) expect((await failureOf(each)).kind).toBe('interrupted');
    const controller = new AbortController();
    const stopped = pack(source, never, {
      repository: store,
      rehash: true,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    expect((await failureOf(() => stopped)).kind).toBe('interrupted');
    expect(readdirSync(scratch.at('.'))).not.toContain('never.cfs');
  });

  test('is refused, with words for a program, if nothing keeps an object', async () => {
    for (const { id } of listImages(store)) expect(await unregisterImage(store, id)).toBe(true);
    expect(await failureOf(() => collectGarbage(store, { minAgeMs: 0 }))).toMatchObject({
      kind: 'usage',
      hint: '`keepNone` deletes all objects.',
    });
    expect((await collectGarbage(store, { keep: [image], minAgeMs: 0 })).kept.objects).toBeGreaterThan(0);
    expect((await checkRepository(store)).damaged).toEqual([]);
    expect((await failureOf(() => unregisterImage(store, '../../x'))).kind).toBe('usage');
    expect((await failureOf(() => unmount(scratch.directory('no-mount')))).hint).toContain('`listMounts`');
  });
});

const PROGRAM = `
import fs from 'node:fs';
const look = () => ({
  functions: Object.values(fs),
  cwd: [process.cwd, process.cwd()],
  title: process.title,
  umask: process.umask(),
  listeners: process.eventNames().map((name) => [name, process.listenerCount(name)]),
  arguments: [...process.argv],
  environment: { ...process.env },
});
const open = () => fs.readdirSync('/proc/self/fd').length;
const before = look();
const { pack, openImage, mount, mountInBackground, unmount, collectGarbage, checkRepository } = await import('@cfs-images/cfs');
const [source, image, repository, mnt] = process.argv.slice(2);
const work = async () => {
  await pack(source, image, { repository });
  const read = openImage(image, { repositories: [repository] });
  const content = read.readFile('/big');
  read.close();
  await collectGarbage(repository);
  await checkRepository(repository);
  const mounted = await mount(image, mnt, { repositories: [repository] });
  const through = await fs.promises.readFile(mnt + '/big');
  await mounted.unmount();
  await mountInBackground(image, mnt, { repositories: [repository] });
  const behind = await fs.promises.readFile(mnt + '/big');
  await unmount(mnt);
  const upper = { upperdir: mnt + '-changes', workdir: mnt + '-work' };
  for (const path of Object.values(upper)) fs.mkdirSync(path, { recursive: true });
  const writable = await mount(image, mnt, { repositories: [repository], upper });
  await fs.promises.writeFile(mnt + '/new', 'new');
  await writable.unmount();
  if (!content.equals(through) || !content.equals(behind)) throw new Error('another content');
};
await work();
const files = open();
await work();
if (open() > files) throw new Error('files were left open: ' + files + ' and ' + open());
const after = look();
const changed = Object.keys(before).filter((key) => {
  const [a, b] = [before[key], after[key]];
  return key === 'functions' ? a.some((f, i) => f !== b[i]) : JSON.stringify(a) !== JSON.stringify(b);
});
if (before.cwd[0] !== after.cwd[0]) changed.push('process.cwd');
process.stdout.write(JSON.stringify(changed));
`;

test('the process is unchanged, and no descriptor is left open', async () => {
  const program = scratch.directory('effects');
  const mnt = scratch.directory('effects-mnt');
  mkdirSync(join(program, 'node_modules/@cfs-images'), { recursive: true });
  symlinkSync(ROOT, join(program, 'node_modules/@cfs-images/cfs'));
  writeFileSync(join(program, 'program.mjs'), PROGRAM);
  const words = [join(program, 'program.mjs'), source, scratch.at('effects.cfs'), store, mnt];
  const { status, stdout, stderr } = await run([process.execPath, ...words]);
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '[]', stderr: '' });
  expect(readFileSync(scratch.at('effects.cfs')).length).toBeGreaterThan(0);
});

describe('tarImage()', () => {
  test('returns pieces that keep their bytes', async () => {
    const options = { repositories: [store] };
    const parts: Uint8Array[] = [];
    const copies: Buffer[] = [];
    for await (const piece of tarImage(image, options)) {
      parts.push(piece);
      copies.push(Buffer.concat([piece]));
    }
    expect(parts.length).toBeGreaterThan(1);
    expect(Buffer.concat(parts).equals(Buffer.concat(copies))).toBe(true);
  });
});

describe('copyImages(), exportImages() and importImages()', () => {
  test('bring an image with its objects to other repositories', async () => {
    const [copied, imported] = [scratch.at('copied'), scratch.at('imported')];
    const { images, failures, ...counts } = await copyImages(copied, [image], { from: [store] });
    expect({ failures, counts }).toEqual({ failures: [], counts: { objects: 1, bytes: BIG.length, existing: 0 } });
    const { id } = openImage(image);
    expect(images).toEqual([{ id, path: image, missing: 0 }]);
    expect((await copyImages(copied, [image], { from: [store] })).existing).toBe(1);
    const directory = scratch.directory('imported-images');
    const pieces = [...exportImages(copied, [image])];
    const result = await importImages(imported, pieces, { directory });
    expect(result).toMatchObject({ objects: 1, newObjects: 1, newBytes: BIG.length, images: [{ id, missing: 0 }] });
    expect(
      openImage(join(directory, 'tree.cfs'), { repositories: [imported] })
        .readFile('/big')
        .equals(BIG),
    ).toBe(true);
    expect((await repositoryUsage(imported)).images).toMatchObject([{ id, total: { objects: 1, bytes: BIG.length } }]);
  });

  test('refuse a stream that is cut off, and a repository without the objects', async () => {
    const target = scratch.at('cut');
    const stream = Buffer.concat([...exportImages(store, [image])]);
    const directory = scratch.directory('cut-images');
    const cut = await failureOf(() => importImages(target, [stream.subarray(0, -10)], { directory }));
    expect(cut.kind).toBe('source');
    expect(readdirSync(directory)).toEqual([]);
    const empty = scratch.directory('no-objects');
    await scratch.tool('cfs-repo', ['init', empty]);
    expect((await failureOf(() => [...exportImages(empty, [image])])).kind).toBe('store');
    const { failures, images } = await copyImages(scratch.at('lacking'), [image], { from: [empty] });
    expect({ failures: failures.length, missing: images[0]?.missing }).toEqual({ failures: 1, missing: 1 });
    expect((await failureOf(() => copyImages(target, [image], { from: [] }))).kind).toBe('usage');
    expect((await failureOf(() => copyImages(target, [], { from: [store] }))).kind).toBe('usage');
  });

  test('stop when they are asked to', async () => {
    const signal = AbortSignal.abort();
    const options = { from: [store], directory: scratch.at('.'), signal };
    expect((await failureOf(() => copyImages(scratch.at('stopped'), [image], options))).kind).toBe('interrupted');
    expect((await failureOf(() => importImages(scratch.at('stopped'), [], options))).kind).toBe('interrupted');
    expect((await failureOf(() => [...exportImages(store, [image], { signal })])).kind).toBe('interrupted');
  });
});

describe('pushImages() and pullImage()', () => {
  test('bring images to a server, and from there to another repository', async () => {
    const web = scratch.directory('web');
    const other = scratch.at('other.cfs');
    await pack(join(source, 'dir'), other, { repository: store });
    const { id } = openImage(image);
    const progress: number[] = [];
    const pushed = await pushImages(store, [image, other], web, {
      names: ['a/tree', 'b'],
      onProgress: ({ bytes, allBytes }) => progress.push(bytes / allBytes),
    });
    expect(pushed.images).toMatchObject([
      { id, path: image, name: 'a/tree' },
      { path: other, name: 'b' },
    ]);
    expect(pushed).toMatchObject({ objects: 1, reused: 0 });
    expect(progress).toEqual([1]);
    const nginx = await Nginx.start(scratch, web);
    try {
      const pulled = scratch.at('pulled');
      const options = { image: scratch.at('pulled.cfs') };
      const counts = { objects: 1, bytes: BIG.length, existing: 0, failures: [] };
      expect(await pullImage(pulled, `${nginx.url}#a/tree`, options)).toEqual({ id, ...counts });
      expect(await pullImage(pulled, `${nginx.url}@${id}`, options)).toMatchObject({ objects: 0, existing: 1 });
      const content = openImage(options.image, { repositories: [pulled] }).readFile('/big');
      expect(content.equals(BIG)).toBe(true);
      const key = scratch.at('key.pem');
      await run(['sh', '-c', `openssl genpkey -algorithm ed25519 | openssl pkey -pubout -out ${key}`]);
      const pull = (address: string, more = {}) => failureOf(() => pullImage(pulled, address, { ...options, ...more }));
      expect(await pruneDirectory(web, { minAgeMs: 0 })).toMatchObject({ names: 2, images: 2, freed: { files: 0 } });
      rmSync(join(web, 'refs/b'));
      const freed: string[] = [];
      const pruned = await pruneDirectory(web, { minAgeMs: 0, onFreed: (name) => freed.push(name) });
      expect(pruned).toMatchObject({ names: 1, young: { files: 0 }, freed: { files: 2 } });
      expect(freed.map((name) => name.slice(0, name.indexOf('/')))).toEqual(['maps', 'images']);
      expect((await failureOf(() => pruneDirectory(nginx.url))).kind).toBe('usage');
      expect((await pull(`${nginx.url}#a/tree`, { keys: [key] })).kind).toBe('image');
      expect((await pull(`${nginx.url}#nope`)).kind).toBe('image');
      expect((await pull('/srv/store')).kind).toBe('usage');
      expect((await pull(`${nginx.url}#b`, { connections: 0 })).kind).toBe('usage');
      expect((await pull(`${nginx.url}#b`, { signal: AbortSignal.abort() })).kind).toBe('interrupted');
    } finally {
      await nginx.stop();
    }
  });

  test('refuse wrong names, and a repository without the objects', async () => {
    const web = scratch.at('nothing');
    const push = (images: readonly string[], options = {}) => failureOf(() => pushImages(store, images, web, options));
    expect((await push([])).kind).toBe('usage');
    expect((await push([image], { names: ['../x'] })).kind).toBe('usage');
    expect((await push([image, image])).kind).toBe('usage');
    expect((await push([image], { level: 20 })).kind).toBe('usage');
    expect((await push([image], { signal: AbortSignal.abort() })).kind).toBe('interrupted');
    const empty = scratch.directory('nothing-to-push');
    await scratch.tool('cfs-repo', ['init', empty]);
    expect((await failureOf(() => pushImages(empty, [image], web))).kind).toBe('store');
  });
});

describe('computeImageId() and directoryUsage()', () => {
  test('compute the id that packing gives, and write nothing', async () => {
    const again = scratch.at('again.cfs');
    expect(await computeImageId(source)).toBe((await pack(source, again, { repository: store })).id);
    const excluded = scratch.at('excluded.cfs');
    const { id } = await pack(source, excluded, { repository: store, exclude: ['big'], useEpoch: true });
    expect(await computeImageId(source, { exclude: ['big'], useEpoch: true })).toBe(id);
    expect((await failureOf(() => computeImageId(scratch.at('no-source')))).kind).toBe('source');
  });

  test('add up directories', async () => {
    const found = [...directoryUsage([image], { path: 'dir', depth: 9 })];
    expect(found).toMatchObject([
      { image: 0, path: '/dir', entries: 5, files: 3, size: 9 },
      { path: '/dir/deep', total: 0 },
    ]);
    expect((await failureOf(() => [...directoryUsage([image], { path: '/big' })])).kind).toBe('usage');
  });
});
