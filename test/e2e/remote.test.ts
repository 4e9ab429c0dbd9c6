/** `cfs-repo push` and `cfs-repo pull`: images and their objects to and from web servers. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { expectWhole, messageOf, objectsIn, start } from './cli.ts';
import { expectEqual, useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { HERE, run } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
let source: string;
let image: string;
let newer: string;
/** A repository in a directory, with both images. */
let web: string;
let nginx: Nginx;
let mirror: Nginx;

const FILES = 1500;
const LARGE = 20_000_000;

beforeAll(async () => {
  source = scratch.directory('source');
  const random = new Random(15);
  for (let i = 0; i < FILES; i++) {
    const directory = join(source, `d${i % 7}`);
    mkdirSync(directory, { recursive: true });
    const size = i === 7 ? LARGE : 70_000 - i * 40;
    // half of them can be compressed
    writeFileSync(join(directory, `f${i}`), i % 2 === 0 ? Buffer.alloc(size, `text ${i} `) : random.bytes(size));
  }
  ({ image } = await scratch.pack(source, { image: scratch.at('app.cfs') }));
  writeFileSync(join(source, 'd3/new'), random.bytes(5000));
  rmSync(join(source, 'd3/f3'));
  ({ image: newer } = await scratch.pack(source, { image: scratch.at('newer.cfs') }));
  web = scratch.directory('web');
  nginx = await Nginx.start(scratch, web);
  mirror = await Nginx.start(scratch, web);
  await succeeds('push', scratch.store, image, web);
});

afterAll(async () => {
  await nginx?.stop();
  await mirror?.stop();
});

const repo = (...args: readonly string[]) => scratch.tool('cfs-repo', args);

async function succeeds(...args: readonly string[]): Promise<Record<string, unknown>> {
  const [command = '', ...rest] = args;
  const { status, stdout, stderr } = await repo(command, '--json', ...rest);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return JSON.parse(stdout) as Record<string, unknown>;
}

let counter = 0;
const fresh = (): { readonly store: string; readonly file: string } => {
  const at = scratch.directory(`pulled-${++counter}`);
  return { store: join(at, 'store'), file: join(at, 'image.cfs') };
};

const filesIn = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(directory, name)).isFile(),
  );

test('an image is pulled with all its objects, in few requests', async () => {
  const { store, file } = fresh();
  const objects = objectsIn(scratch.store).length;
  nginx.requests();
  const pulled = await succeeds('pull', '-o', file, `${nginx.url}#app`, store);
  const requests = nginx.requests();
  expect(pulled).toMatchObject({ existing: 0, problems: [], images: [{ path: file, missing: 0 }] });
  expect(readFileSync(file).equals(readFileSync(image))).toBe(true);
  expect(expectWhole(store)).toHaveLength(objects - 1);
  const packs = readdirSync(join(web, 'packs')).length;
  expect(requests.length).toBeLessThanOrEqual(packs + 4);
  expect((await repo('images', store)).stdout).toContain(file);
  const again = await succeeds('pull', '-o', file, `${nginx.url}#app`, store);
  expect(again).toMatchObject({ objects: 0, existing: objects - 1 });
  expect(nginx.requests().filter((line) => line.includes('/packs/'))).toEqual([]);
  const mounted = await scratch.mount(file, { repos: [store] });
  expect(filesIn(mounted.path)).toHaveLength(FILES);
});

test('what it prints, and the file that it writes without -o', async () => {
  const at = scratch.directory('here');
  const command = HERE.tool('cfs-repo', ['pull', `${nginx.url}/#app`, 'store'], scratch.environment);
  const { status, stdout, stderr } = await run(command, { cwd: at });
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  expect(stdout).toMatch(
    /^image {5}app\.cfs {2}[0-9a-f]{64}\nfetched {3}1,500 objects, \d+\.\d MB \(.*\)\nexisting {2}0 objects\n$/,
  );
  expect(existsSync(join(at, 'app.cfs'))).toBe(true);
});

test('a server that takes PUT is pushed to; packs of the version before are used again', async () => {
  const target = scratch.directory('dav');
  const dav = await Nginx.start(scratch, target);
  try {
    const first = await succeeds('push', scratch.store, image, dav.url);
    expect(first).toMatchObject({ ref: 'app', objects: FILES, reused: 0, existingPacks: 0 });
    const { stdout } = await repo('push', '--base', 'app', scratch.store, newer, dav.url);
    expect(stdout).toMatch(
      /^pushed {4}http.*#newer {2}[0-9a-f]{64}\nobjects {3}1,500, of these 1,499 in packs of other images\n/,
    );
    expect(stdout).toMatch(/\nsent {6}4 files, .*\nexisting {2}0 packs\n$/);
    dav.requests();
    expect(await succeeds('push', scratch.store, image, dav.url)).toMatchObject({ reused: FILES, files: 2 });
    const { store, file } = fresh();
    await succeeds('pull', '-o', file, `${dav.url}#app`, store);
    const pulled = await succeeds('pull', '-o', file, `${dav.url}#newer`, store);
    expect(pulled).toMatchObject({ objects: 1, existing: FILES - 1 });
    expectWhole(store);
    const mounted = await scratch.mount(file, { repos: [store] });
    await expectEqual(source, mounted.path);
  } finally {
    await dav.stop();
  }
});

test('a local repository that a web server shows is one: each object is a file', async () => {
  const plain = scratch.at('plain');
  await succeeds('copy', '--from', scratch.store, plain, image);
  const id = (await scratch.tool('cfs-info', ['id', image])).stdout.trim();
  mkdirSync(join(plain, 'images'));
  const [compressed = ''] = readdirSync(join(web, 'images')).filter((name) => name.startsWith(id));
  writeFileSync(join(plain, 'images', compressed), readFileSync(join(web, 'images', compressed)));
  const server = await Nginx.start(scratch, plain);
  try {
    const { store, file } = fresh();
    expect(await succeeds('pull', '-o', file, `${server.url}@${id}`, store)).toMatchObject({ objects: FILES });
    expectWhole(store);
  } finally {
    await server.stop();
  }
});

test('damage: what a mirror has right is taken from there; else it is said, and nothing is registered', async () => {
  const bad = scratch.directory('bad');
  for (const name of filesIn(web)) {
    mkdirSync(dirname(join(bad, name)), { recursive: true });
    const bytes = readFileSync(join(web, name));
    if (name.startsWith('packs/')) bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    writeFileSync(join(bad, name), bytes);
  }
  const server = await Nginx.start(scratch, bad);
  try {
    const { store, file } = fresh();
    const { status, stderr, stdout } = await repo('pull', '-o', file, `${server.url}#app`, store);
    expect({ status, stdout }).toMatchObject({ status: EXIT.store, stdout: expect.stringMatching(/^fetched/) });
    expect(stderr).toMatch(
      /^cfs-repo: Cannot fetch object [0-9a-f]{64}: http.*: object [0-9a-f]{64}: .*(?:damaged|corrupted)/m,
    );
    expect(stderr).toContain(`${file} is not registered`);
    expect(existsSync(file)).toBe(false);
    const whole = expectWhole(store).length;
    expect(whole).toBeGreaterThan(0);
    const both = await succeeds('pull', '-o', file, `${server.url}|${nginx.url}#app`, store);
    expect(both).toMatchObject({ existing: whole, objects: FILES - whole, problems: [] });
    expectWhole(store);
  } finally {
    await server.stop();
  }
});

test('a mirror that ends in the middle is not missed', async () => {
  const dying = await Nginx.start(scratch, web);
  const { store, file } = fresh();
  const args = ['pull', '--json', '--threads', '1', '--connections', '1', '-o', file];
  const pulling = start(scratch, 'cfs-repo', [...args, `${dying.url}|${mirror.url}#app`, store]);
  await until('it has asked for packs', () => dying.requests().some((line) => line.includes('/packs/')));
  await dying.stop();
  const { status, stdout, stderr } = await pulling.outcome;
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  expect(JSON.parse(stdout)).toMatchObject({ objects: FILES, problems: [] });
  expectWhole(store);
});

test.each([1, 60, 500])('killed at call %i of a thread, it is continued', async (at) => {
  const { store, file } = fresh();
  const args = ['pull', '--threads', '1', '--no-fsync', '-o', file, `${nginx.url}#app`, store];
  const environment = { ...scratch.environment, CFS_FAIL_AT: `worker:${at}:kill` };
  expect((await run(HERE.tool('cfs-repo', args, environment))).signal).toBe('SIGKILL');
  const before = expectWhole(store).length;
  expect(before).toBeLessThan(FILES);
  expect(await succeeds('pull', '-o', file, `${nginx.url}#app`, store)).toMatchObject({ existing: before });
  expectWhole(store);
});

test('a push that was killed is continued', async () => {
  const target = scratch.at('killed-push');
  await succeeds('push', '--no-fsync', scratch.store, image, target);
  rmSync(join(target, 'refs'), { recursive: true });
  rmSync(join(target, 'maps'), { recursive: true });
  const [pack = ''] = readdirSync(join(target, 'packs'));
  rmSync(join(target, 'packs', pack));
  const packs = readdirSync(join(target, 'packs')).length;
  expect(await succeeds('push', scratch.store, image, target)).toMatchObject({ existingPacks: packs, files: 4 });
  const names = (directory: string) =>
    filesIn(directory)
      .filter((name) => name !== 'meta.json')
      .sort();
  expect(names(target)).toEqual(names(web));
});

test('an image of an id must have it, and a signature is required on demand', async () => {
  const id = (await scratch.tool('cfs-info', ['id', image])).stdout.trim();
  const other = (await scratch.tool('cfs-info', ['id', newer])).stdout.trim();
  const { store, file } = fresh();
  expect(messageOf(await repo('pull', '-o', file, `${nginx.url}@${other}`, store), EXIT.image, 'cfs-repo')).toBe(
    `There is no image ${nginx.url}@${other}`,
  );
  renameSync(join(web, `images/${id}.zst`), join(web, `images/${other}.zst`));
  try {
    const message = messageOf(await repo('pull', '-o', file, `${nginx.url}@${other}`, store), EXIT.store, 'cfs-repo');
    expect(message).toContain(`it is image ${id}`);
  } finally {
    renameSync(join(web, `images/${other}.zst`), join(web, `images/${id}.zst`));
  }
  const key = scratch.at('public.pem');
  await run(['sh', '-c', `openssl genpkey -algorithm ed25519 | openssl pkey -pubout -out ${key}`]);
  const unsigned = await repo('pull', '--key', key, '-o', file, `${nginx.url}#app`, store);
  expect(messageOf(unsigned, EXIT.image, 'cfs-repo')).toMatch(/signature|signed/);
  expect(existsSync(file)).toBe(false);
});

test.each<[string, readonly string[], number, RegExp]>([
  ['no name', ['pull', 'URL', 'store'], EXIT.usage, /names no image: add #NAME or @ID$/],
  ['an unknown name', ['pull', 'URL#nope', 'store'], EXIT.image, /has no image named nope$/],
  ['no URL', ['pull', '/srv/store', 'store'], EXIT.usage, /is not a URL/],
  ['http to elsewhere', ['pull', 'http://example.org/#x', 'store'], EXIT.usage, /not encrypted.*--insecure/],
  ['no repository there', ['pull', 'URL/packs#x', 'store'], EXIT.store, /it has no meta\.json$/],
  ['no server there', ['pull', 'http://127.0.0.1:1/#x', 'store'], EXIT.store, /connection refused$/],
  ['an invalid name', ['push', '--ref', '../x', 'STORE', 'IMAGE', 'web'], EXIT.usage, /is not a name of an image/],
  ['two servers', ['push', 'STORE', 'IMAGE', 'https://a|https://b'], EXIT.usage, /give one URL$/],
  ['a file as target', ['push', 'STORE', 'IMAGE', 'IMAGE'], EXIT.store, /not a directory/],
])('error: %s', async (_what, words, status, message) => {
  const given = words.map((word) =>
    word.replace('URL', nginx.url).replace('STORE', scratch.store).replace('IMAGE', image),
  );
  const last = given.at(-1) as string;
  const args = last === 'store' || last === 'web' ? [...given.slice(0, -1), scratch.at(`error-${last}`)] : given;
  expect(messageOf(await repo(...args), status, 'cfs-repo')).toMatch(message);
  expect(existsSync(scratch.at('error-store'))).toBe(false);
});
