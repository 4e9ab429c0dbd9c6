/** `cfs-repo sync`: mirrors of remote repositories. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTarget, type PushTarget } from '../../src/transfer/push-target.ts';
import { type Synced, syncImages } from '../../src/transfer/sync-images.ts';
import { openTree, type TreeSource } from '../../src/transfer/tree-source.ts';
import { EXIT } from '../../tools/cli.ts';
import { HostileServer } from '../support/hostile-server.ts';
import { Random } from '../support/random.ts';
import { messageOf } from './cli.ts';
import { useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';

const scratch = useScratch();
const random = new Random(31);
/** A directory that the image was pushed to, as `app` and `team/app`. */
let pushed: string;
let image: string;
let server: HostileServer;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 0; i < 20; i++) writeFileSync(join(source, `f${i}`), random.bytes(5000));
  for (const name of ['large', 'larger']) writeFileSync(join(source, name), random.bytes(1_500_000));
  ({ image } = await scratch.pack(source, { image: scratch.at('app.cfs') }));
  pushed = scratch.directory('pushed');
  expect((await scratch.tool('cfs-repo', ['push', scratch.store, image, pushed])).status).toBe(EXIT.ok);
  mkdirSync(join(pushed, 'refs/team'));
  writeFileSync(join(pushed, 'refs/team/app'), readFileSync(join(pushed, 'refs/app')));
  // a name that is being written
  writeFileSync(join(pushed, 'refs/app.0123456789ab.tmp'), 'x');
  server = await HostileServer.start();
});

afterAll(async () => {
  await server?.stop();
});

const filesIn = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();

const NETWORK = { connections: 2, insecure: false };

async function sync(words: readonly string[], target: PushTarget): Promise<Synced> {
  const sources: TreeSource[] = [];
  try {
    for (const word of words) sources.push(await openTree(word, NETWORK));
    return await syncImages(sources, target, NETWORK);
  } finally {
    for (const source of sources) await source.close();
  }
}

/** A directory as a target, with the names of the files that are written to it. */
function recorded(path: string): PushTarget & { readonly written: string[] } {
  const target = openTarget(path, { ...NETWORK, durable: false });
  const written: string[] = [];
  return {
    text: target.text,
    written,
    get: (...args) => target.get(...args),
    has: (...args) => target.has(...args),
    close: () => target.close(),
    put: async (name, bytes) => {
      await target.put(name, bytes);
      written.push(name);
    },
  };
}

/** Shows the directory, with changes. */
function serve(changes: Readonly<Record<string, Buffer | undefined>> = {}): string {
  server.files.clear();
  for (const name of filesIn(pushed)) server.files.set(name, readFileSync(join(pushed, name)));
  for (const [name, bytes] of Object.entries(changes)) {
    if (bytes === undefined) server.files.delete(name);
    else server.files.set(name, bytes);
  }
  return String(server.url()).replace(/\/$/, '');
}

const isData = (name: string): boolean => name !== 'meta.json' && !name.endsWith('.tmp');

test('a directory is copied with all its names, and then nothing more', async () => {
  const mirror = scratch.at('mirror');
  const { status, stdout } = await scratch.tool('cfs-repo', ['sync', '--json', pushed, mirror]);
  expect(status).toBe(EXIT.ok);
  const result = JSON.parse(stdout) as Synced;
  expect(result.images.map(({ name }) => name)).toEqual(['app', 'team/app']);
  expect(filesIn(mirror).filter(isData)).toEqual(filesIn(pushed).filter(isData));
  for (const name of filesIn(mirror).filter(isData)) {
    expect(readFileSync(join(mirror, name)).equals(readFileSync(join(pushed, name))), name).toBe(true);
  }
  expect(result.files).toBe(filesIn(mirror).length);
  const one = scratch.at('one name');
  expect((await scratch.tool('cfs-repo', ['sync', '-q', '--ref', 'team/app', pushed, one])).status).toBe(EXIT.ok);
  expect(filesIn(join(one, 'refs'))).toEqual(['team/app']);
  const again = recorded(mirror);
  expect(await sync([pushed], again)).toMatchObject({ files: 0, bytes: 0 });
  expect(again.written).toEqual([]);
});

test('a web server is mirrored to another one, and the name comes last', async () => {
  const web = scratch.directory('web');
  const nginx = await Nginx.start(scratch, web);
  try {
    const put = openTarget(`${nginx.url}/mirror`, { ...NETWORK, durable: false });
    const { images } = await sync([`${serve()}#team/app`], put);
    await put.close();
    expect(filesIn(join(web, 'mirror/refs'))).toEqual(['team/app']);
    const target = recorded(scratch.at('second'));
    expect((await sync([`${nginx.url}/mirror#team/app`], target)).images[0]?.id).toBe(images[0]?.id);
    const kinds = target.written.map((name) => name.split('/')[0]);
    expect(kinds.slice(0, 2)).toEqual(['meta.json', 'packs']);
    expect(kinds.slice(-4)).toEqual(['packs', 'maps', 'images', 'refs']);
  } finally {
    await nginx.stop();
  }
});

test('nothing damaged or missing is copied, and the next run continues', async () => {
  const [pack = '', other = ''] = filesIn(pushed).filter((name) => name.startsWith('packs/'));
  const [map = ''] = filesIn(pushed).filter((name) => name.startsWith('maps/'));
  const [stored = ''] = filesIn(pushed).filter((name) => name.startsWith('images/'));
  const flipped = (name: string): Buffer => {
    const bytes = Buffer.from(readFileSync(join(pushed, name)));
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    return bytes;
  };
  const target = recorded(scratch.at('careful'));
  const damages: Readonly<Record<string, Buffer | undefined>>[] = [
    { [stored]: flipped(stored) },
    { [stored]: undefined },
    { [map]: flipped(map) },
    { [pack]: flipped(pack) },
    { [pack]: undefined },
    { [pack]: readFileSync(join(pushed, other)) },
    { 'refs/app': Buffer.from('{"image":"../../etc"}') },
  ];
  for (const damage of damages) {
    await expect(sync([`${serve(damage)}#app`], target)).rejects.toMatchObject({ name: 'CfsError' });
    for (const name of target.written.filter(isData)) {
      expect(readFileSync(join(target.text, name)).equals(readFileSync(join(pushed, name))), name).toBe(true);
    }
    expect(existsSync(join(target.text, 'refs'))).toBe(false);
  }
  const { existing } = await sync([`${serve()}#app`], target);
  expect(existing).toBeGreaterThan(0);
  expect(existsSync(join(target.text, 'refs/app'))).toBe(true);
  // what was damaged in the mirror itself is written again
  writeFileSync(join(target.text, stored), 'damaged');
  rmSync(join(target.text, pack));
  target.written.length = 0;
  await sync([`${pushed}#app`], target);
  expect(target.written.sort()).toEqual([stored, pack].sort());
});

test('a repository without packs is copied by its files', async () => {
  const plain = scratch.directory('plain');
  for (const [from, name] of [
    [scratch.store, 'meta.json'],
    ...filesIn(join(scratch.store, 'objects')).map((name) => [scratch.store, `objects/${name}`]),
    ...filesIn(pushed)
      .filter((name) => /^(images|refs\/app$)/.test(name))
      .map((name) => [pushed, name]),
  ] as [string, string][]) {
    mkdirSync(join(plain, name, '..'), { recursive: true });
    writeFileSync(join(plain, name), readFileSync(join(from, name)));
  }
  const target = recorded(scratch.at('plain mirror'));
  await sync([plain], target);
  expect(filesIn(target.text).filter(isData)).toEqual(filesIn(plain).filter(isData));
  const [object = ''] = filesIn(plain).filter((name) => name.startsWith('objects/'));
  writeFileSync(join(plain, object), 'damaged');
  rmSync(join(target.text, object));
  await expect(sync([plain], target)).rejects.toMatchObject({ kind: 'store' });
  expect(existsSync(join(target.text, object))).toBe(false);
});

test('what cannot be mirrored', async () => {
  const target = recorded(scratch.at('nothing'));
  await expect(sync([serve()], target)).rejects.toMatchObject({
    kind: 'usage',
    message: expect.stringContaining('a web server does not list its files, so add #NAME'),
  });
  await expect(sync([pushed, `${serve()}#app`], target)).rejects.toMatchObject({ kind: 'usage' });
  await expect(sync([`${pushed}#none`], target)).rejects.toMatchObject({ kind: 'image' });
  await expect(sync([scratch.directory('empty')], target)).rejects.toMatchObject({ kind: 'store' });
  const none = await scratch.tool('cfs-repo', ['sync', scratch.at('missing'), target.text]);
  const named = await scratch.tool('cfs-repo', ['sync', '--ref', '../x', pushed, target.text]);
  expect(messageOf(named, EXIT.usage, 'cfs-repo')).toContain('"../x" is not a name of an image');
  expect(messageOf(none, EXIT.store, 'cfs-repo')).toContain('no such file or directory');
  expect(existsSync(target.text)).toBe(false);
});
