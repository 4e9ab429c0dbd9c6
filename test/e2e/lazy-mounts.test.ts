/** Mounts whose objects come from a web server when they are opened first. The server runs in this process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { blake3 } from '../../src/base/digest.ts';
import { openCache } from '../../src/store/open-repository.ts';
import { EXIT, type ExitStatus } from '../../tools/cli.ts';
import { ANSWERS, giveFile, HostileServer } from '../support/hostile-server.ts';
import { Random } from '../support/random.ts';
import { messageOf, objectsIn } from './cli.ts';
import { expectEqual, type Mounted, useScratch } from './harness.ts';
import { HERE, NOBODY, type Outcome, run, succeed } from './run.ts';
import { isAlive, until } from './system.ts';

const scratch = useScratch();
const random = new Random(22);
let source: string;
let image: string;
/** Where `cfs-repo push` has put the image. */
let packs: string;
let server: HostileServer;
/** Its directories: a repository as it is, and packs. */
let roots: Readonly<Record<string, string>>;
/** Called instead of giving an object or a pack. */
let intercept: HostileServer['answer'] | undefined;

const FILES = 120;
const LARGE = 6_000_000;

beforeAll(async () => {
  source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, `f${i}`), random.bytes(1000 + i * 37));
  writeFileSync(join(source, 'large'), random.bytes(LARGE));
  writeFileSync(join(source, 'near'), 'what a local repository has, too. '.repeat(100));
  ({ image } = await scratch.pack(source, { image: scratch.at('app.cfs') }));
  packs = scratch.directory('packs');
  expect((await scratch.tool('cfs-repo', ['push', '--json', scratch.store, image, packs])).status).toBe(EXIT.ok);
  roots = { plain: scratch.store, packs };
  server = await HostileServer.start();
  server.answer = (name, request, response) => {
    if (name.includes('objects/') || name.includes('packs/packs/')) {
      if (intercept?.(name, request, response) === true) return true;
    }
    const [root = '', ...rest] = name.split('/');
    const file = join(roots[root] ?? '/nowhere', ...rest);
    if (!existsSync(file)) return false;
    giveFile(request, response, readFileSync(file));
    return true;
  };
});

afterAll(async () => {
  await server?.stop();
});

const url = (root: 'plain' | 'packs'): string => String(server.url(root));
const content = (name: string): Buffer => readFileSync(join(source, name));
const objectOf = (name: string): string => {
  const hex = toHex(blake3(content(name)));
  return `${hex.slice(0, 2)}/${hex.slice(2)}`;
};

/** Reads a file in a process of its own: this one is the server. */
const cat = (mounted: Mounted, name: string): Promise<Outcome> => run(HERE.command('sha256sum', mounted.at(name)));
const sumOf = async (path: string): Promise<string> => (await run(HERE.command('sha256sum', path))).stdout.slice(0, 64);

async function expectRight(mounted: Mounted, ...names: readonly string[]): Promise<void> {
  const outcome = await run(HERE.command('cmp', mounted.at(names[0] as string), join(source, names[0] as string)));
  expect(outcome).toMatchObject({ status: 0, stdout: '', stderr: '' });
  if (names.length > 1) await expectRight(mounted, ...names.slice(1));
}

const mountFrom = (repos: readonly string[], cache: string, words: readonly string[] = []): Promise<Mounted> =>
  scratch.mount(image, { repos, words: [`cache=${cache}`, 'prefetch=off', ...words] });

interface Fetched {
  readonly objects: number;
  readonly bytes: number;
  readonly failed: number;
  readonly prefetch?: { readonly mode: string; readonly state: string; readonly objects: number };
  readonly servers: readonly { readonly url: string; readonly requests: number; readonly failures: number }[];
}

async function fetchedBy(mounted: Mounted): Promise<Fetched> {
  const { stdout } = await scratch.tool('cfs-info', ['stats', '--json', mounted.path]);
  return (JSON.parse(stdout) as { fetched: Fetched }).fetched;
}

/** What `cfs-info where` says, as text. */
const whereIs = async (mounted: Mounted, name: string): Promise<string> =>
  (await scratch.tool('cfs-info', ['where', mounted.at(name)])).stdout;

test('every file is right, and the next mount asks for nothing', async () => {
  const cache = scratch.at('cache-1');
  const first = await mountFrom([url('packs')], cache);
  expect(await whereIs(first, 'large')).toContain(
    'verified:     not yet: when it is fetched\n' +
      'served by:    none: no local repository has it\n' +
      `remote:       ${url('packs')}: not known yet: it was not asked\n`,
  );
  expect(server.asked).toEqual([]);
  await expectEqual(source, first.path);
  expect(await whereIs(first, 'large')).toContain(
    `served by:    repository 1, the cache, ${join(cache, 'blake3')}\n` +
      `fetched from: ${url('packs')}/\n` +
      `remote:       ${url('packs')}: in a pack\n`,
  );
  const requests = server.asked.splice(0).length;
  // one for the map, and for each frame at most; the large object is one request
  expect(requests).toBeLessThanOrEqual(10);
  expect(objectsIn(join(cache, 'blake3'))).toHaveLength(objectsIn(scratch.store).length);
  expect(await fetchedBy(first)).toMatchObject({
    objects: objectsIn(scratch.store).length,
    failed: 0,
    // those that came along with another one
    hits: expect.toSatisfy((hits: number) => hits >= objectsIn(scratch.store).length - requests),
    servers: [
      {
        url: `${url('packs')}/`,
        requests,
        failures: 0,
        failovers: 0,
        retries: 0,
        objects: objectsIn(scratch.store).length,
      },
    ],
  });
  await first.unmount();
  const second = await mountFrom([url('packs')], cache);
  await expectEqual(source, second.path);
  expect(server.asked).toEqual([]);
  expect(await fetchedBy(second)).toMatchObject({
    objects: 0,
    hits: expect.toSatisfy((hits: number) => hits >= objectsIn(scratch.store).length),
  });
  const { stdout } = await scratch.tool('cfs-info', ['where', '--json', second.at('large'), second.at('f0')]);
  const remote = { cache: 1, repositories: [{ url: url('packs'), map: 'unknown' }] };
  expect(JSON.parse(stdout)).toMatchObject([{ source: { number: 1 }, remote }, { remote }]);
  expect(stdout).not.toContain('"from"');
});

/** Answers that are held back until `release`. */
function holdAnswers(): { readonly held: string[]; release(): void } {
  const held: string[] = [];
  const waiting: (() => void)[] = [];
  intercept = (name, request, response) => {
    held.push(name);
    waiting.push(() => giveFile(request, response, readFileSync(join(scratch.store, name.replace('plain/', '')))));
    return true;
  };
  const release = (): void => {
    intercept = undefined;
    for (const answer of waiting.splice(0)) answer();
  };
  return { held, release };
}

test('many wait for a slow server, and nobody waits for them', async () => {
  const near = scratch.at('near');
  const part = scratch.directory('part');
  writeFileSync(join(part, 'near'), content('near'));
  await scratch.pack(part, { store: near });
  const mounted = await mountFrom([near, url('plain')], scratch.at('cache-2'), ['threads=2']);
  const { held, release } = holdAnswers();
  const names = Array.from({ length: 64 }, (_, i) => `f${i}`);
  const readers = names.map((name) => cat(mounted, name));
  // more are not asked for at the same time
  await until('readers wait', () => held.length === 32);
  await expectRight(mounted, 'near');
  expect((await run(HERE.command('ls', '-lR', mounted.path))).status).toBe(0);

  // a reader that is interrupted ends
  const reader = spawn('sha256sum', [mounted.at('f100')], { stdio: 'ignore' });
  const ended = once(reader, 'exit');
  const where = `/proc/${reader.pid}/wchan`;
  await until('the reader waits', () => readFileSync(where, 'utf8').includes('request_wait_answer'));
  reader.kill('SIGINT');
  expect(await ended).toEqual([null, 'SIGINT']);

  // the next server gets all the requests again
  process.kill(mounted.pid, 'SIGKILL');
  await until('the server is dead', () => !isAlive(mounted.pid));
  held.length = 0;
  await until('the next server asks', () => held.length === 32);
  release();
  const outcomes = await Promise.all(readers);
  expect(outcomes.filter(({ status }) => status !== 0)).toEqual([]);
  const sums = await Promise.all(names.map((name) => sumOf(join(source, name))));
  expect(outcomes.map(({ stdout }) => stdout.slice(0, 64))).toEqual(sums);
});

const wrongBytes: HostileServer['answer'] = (_, request, response) => {
  const [, from = '0', to = '999'] = /(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
  const bytes = Buffer.alloc(Number(to) - Number(from) + 1, 'x');
  response.writeHead(206, { 'content-range': `bytes ${from}-${to}/99999999` }).end(bytes);
  return true;
};

test('what a server does wrong is EIO, and the right bytes come from it later', async () => {
  const cache = scratch.at('cache-3');
  const mounted = await mountFrom([url('plain')], cache);
  const ways = [
    'wrong',
    'cut-off',
    'endless',
    'gzip',
    'broken',
    'redirect-loop',
    'no-http',
    'forbidden',
    'away',
    'gone',
  ];
  for (const [i, way] of ways.entries()) {
    const name = `f${i}`;
    const before = server.asked.length;
    intercept = (asked, request, response) => {
      if (way === 'wrong') return wrongBytes(asked, request, response);
      if (way === 'away') request.socket.destroy();
      else if (way === 'gone') response.writeHead(404).end();
      else ANSWERS[way]?.(request, response);
      return true;
    };
    expect(await cat(mounted, name), way).toMatchObject({ status: 1, stdout: '' });
    expect(server.asked.length, way).toBeGreaterThan(before);
    expect(existsSync(join(cache, 'blake3/objects', objectOf(name))), way).toBe(false);
    intercept = undefined;
    await until(`it recovers from ${way}`, async () => (await cat(mounted, name)).status === 0);
    await expectRight(mounted, name);
  }
  expect((await fetchedBy(mounted)).failed).toBeGreaterThanOrEqual(ways.length);

  // another server of the same content is asked instead
  await mounted.unmount();
  const bad = await HostileServer.start();
  try {
    bad.answer = (asked, request, response) => !asked.startsWith('maps') && wrongBytes(asked, request, response);
    const mirrored = await mountFrom([`${bad.url()}|${url('plain')}`], scratch.at('cache-4'));
    await expectRight(mirrored, 'f50', 'large');
    expect(await fetchedBy(mirrored)).toMatchObject({
      failed: 0,
      servers: [
        { requests: 0, objects: 0 },
        { failures: 0, failovers: expect.any(Number), objects: 2 },
      ],
    });
    expect(await whereIs(mirrored, 'f50')).toContain(
      `fetched from: ${url('plain')}/\nremote:       ${bad.url()}|${url('plain')}: a file in objects\n`,
    );
  } finally {
    await bad.stop();
  }
});

test('prefetch=all fetches all objects, also if its server is killed', async () => {
  const cache = scratch.at('cache-10');
  const packs = url('packs');
  const all = objectsIn(scratch.store).length;
  const there = (): number => objectsIn(join(cache, 'blake3')).length;
  const large = join(cache, 'blake3/objects', objectOf('large'));
  // the requests of the first server are not answered
  const waiting: string[] = [];
  intercept = (name) => waiting.push(name) > 0;
  const mounted = await mountFrom([packs], cache, ['prefetch=all']);
  await until('it asks', () => waiting.length === 2);
  expect((await fetchedBy(mounted)).prefetch).toMatchObject({ mode: 'all', state: 'running', objects: 0 });
  intercept = undefined;
  process.kill(mounted.pid, 'SIGKILL');
  await until('all objects are there', () => existsSync(large) && there() === all);
  const prefetchOf = async () => (await fetchedBy(mounted)).prefetch;
  await until('it is done', async () => (await prefetchOf())?.state === 'done');
  expect(await prefetchOf()).toMatchObject({ objects: all, allObjects: all });
  const shown = await scratch.tool('cfs-info', ['stats', mounted.path]);
  expect(shown.stdout).toContain(`prefetch:         all, done\n  objects:        ${all} of ${all}\n`);
  const metrics = await scratch.tool('cfs-info', ['stats', '--prometheus', mounted.path]);
  expect(metrics.stdout).toContain(`cfs_prefetch_objects{mountpoint="${mounted.path}"} ${all}\n`);
  server.asked.length = 0;
  await expectEqual(source, mounted.path);
  await mounted.unmount();
  // a mount that has everything asks nobody
  const again = await scratch.mount(image, { repos: [packs], words: [`cache=${cache}`] });
  await until('it is done', async () => (await fetchedBy(again)).prefetch?.state === 'done');
  expect(server.asked).toEqual([]);
});

test('prefetching deletes nothing from a cache that has a limit', async () => {
  const cache = scratch.at('cache-11');
  const mounted = await mountFrom([url('packs')], cache, ['prefetch=all', 'cache-size=6M']);
  await until('it stops', async () => (await fetchedBy(mounted)).prefetch?.state === 'cache-full');
  expect(existsSync(join(cache, 'blake3/objects', objectOf('large')))).toBe(false);
  await expectRight(mounted, 'f0', 'f100');
});

test('a damaged or deleted cache is a miss', async () => {
  const cache = scratch.at('cache-5');
  const mounted = await mountFrom([url('packs')], cache);
  await expectRight(mounted, 'large');
  const file = join(cache, 'blake3/objects', objectOf('large'));
  chmodSync(file, 0o644);
  writeFileSync(file, Buffer.alloc(LARGE, 'damage'));
  await expectRight(mounted, 'large');
  expect(readFileSync(file).equals(content('large'))).toBe(true);

  // a file that is held open can be opened again, although its object is another file then
  const held = openSync(mounted.at('large'), 'r');
  try {
    rmSync(cache, { recursive: true });
    await expectRight(mounted, 'f7', 'large', 'large');
  } finally {
    closeSync(held);
  }
  expect(existsSync(file)).toBe(true);

  // the list of its sources makes the same mount, also without the cache
  const { stdout } = await scratch.tool('cfs-info', ['sources', '--json', mounted.path]);
  const list = scratch.at('sources.json');
  writeFileSync(list, stdout);
  await mounted.unmount();
  rmSync(cache, { recursive: true });
  const more = await scratch.tool('cfs-mount', ['--from', list, '--repo', url('plain')]);
  expect(messageOf(more, EXIT.usage, 'cfs-mount')).toContain('--from names the repositories');
  const { status, stdout: again, stderr } = await scratch.tool('cfs-mount', ['--json', '--from', list]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  await expectRight(scratch.adopt(JSON.parse(again)), 'f8');
});

test('a cache that is too large loses what was not used for the longest time', async () => {
  const cache = scratch.at('cache-7');
  const mounted = await mountFrom([url('packs')], cache, ['cache-size=100K']);
  // a remount repeats the line of fstab
  const remount = (from: string, words: string): Promise<Outcome> =>
    run(HERE.tool('mount.cfs', [from, mounted.path, '-o', `rw,remount,noexec,${words}`], scratch.environment));
  for (const [from, words] of [
    [image, `cache-size=100K,cache=${cache},repo=${url('packs')}/`],
    [`${url('packs')}#app`, '_netdev,cache-size=102400'],
  ] as const) {
    expect(await remount(from, words)).toMatchObject({ status: 0, stderr: '' });
  }
  for (const word of ['cache-size=101K', `cache=${cache}-2`, `repo=${url('plain')}`]) {
    expect(messageOf(await remount(image, word), EXIT.usage, 'mount.cfs')).toContain(`Cannot change ${word}`);
  }
  // objects may be deleted while they are counted
  const sizeOf = (name: string): number =>
    statSync(join(cache, 'blake3/objects', name), { throwIfNoEntry: false })?.size ?? 0;
  const bytes = (): number => objectsIn(join(cache, 'blake3')).reduce((sum, name) => sum + sizeOf(name), 0);
  await expectEqual(source, mounted.path);
  await until('it is small enough', () => bytes() <= 100 << 10);
  await expectRight(mounted, 'f0', 'large', 'f1');
});

test('the image may be on the server, too', async () => {
  const cache = scratch.at('cache-8');
  const mountOf = async (name: string): Promise<Mounted> => {
    server.asked.length = 0;
    return scratch.mount(name, { repos: [], words: [`cache=${cache}`, 'prefetch=off'] });
  };
  const first = await mountOf(`${url('packs')}#app`);
  const { id } = first.report;
  expect(readFileSync(join(cache, 'images', `${id}.cfs`)).equals(readFileSync(image))).toBe(true);
  await expectRight(first, 'f0', 'large');
  await first.unmount();
  // by its name the server is asked which image it is, by its id nobody
  const again = await mountOf(`${url('packs')}#app`);
  expect(server.asked).toEqual(['packs/meta.json', 'packs/refs/app']);
  await again.unmount();
  const byId = await mountOf(`${url('packs')}@${id}`);
  expect(server.asked).toEqual([]);
  await expectRight(byId, 'f0', 'large');
  await byId.unmount();
  writeFileSync(join(cache, 'images', `${id}.cfs`), 'damaged');
  const mended = await mountOf(`${url('packs')}@${id}`);
  await expectRight(mended, 'f0');
  await mended.unmount();

  const refusal = async (name: string, status: ExitStatus, ...words: readonly string[]): Promise<string> => {
    const options = [`cache=${scratch.at('cache-9')}`, ...words].join(',');
    const outcome = await scratch.tool('cfs-mount', ['-o', options, name, scratch.directory('mnt')]);
    return messageOf(outcome, status, 'cfs-mount');
  };
  expect(await refusal(url('packs'), EXIT.usage)).toContain('names no image: add #NAME or @ID');
  expect(await refusal(`${url('packs')}#other`, EXIT.mount)).toContain('has no image named other');
  // a fifo in place of an image is not waited for
  mkdirSync(scratch.at('cache-9', 'images'), { recursive: true });
  await succeed(['mkfifo', scratch.at('cache-9', 'images', `${'0'.repeat(64)}.cfs`)]);
  expect(await refusal(`${url('packs')}@${'0'.repeat(64)}`, EXIT.mount)).toContain('There is no image');
  const foreign = scratch.directory('cache of nobody');
  chownSync(foreign, NOBODY, NOBODY);
  const untrusted = await refusal(`${url('packs')}#app`, EXIT.mount, `cache=${foreign}`);
  expect(untrusted).toContain(`Cannot write to repository ${foreign} as root: user ${NOBODY} owns it`);
  expect(readdirSync(foreign)).toEqual([]);
  expect(await refusal('http://example.org/x#app', EXIT.usage)).toContain('http to another machine');
  expect(await refusal(`${url('packs')}#app`, EXIT.mount, `digest=${'1'.repeat(64)}`)).toContain(id);
  const key = scratch.at('key.pem');
  await succeed(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', `${key}.private`]);
  await succeed(['openssl', 'pkey', '-in', `${key}.private`, '-pubout', '-out', key]);
  expect(await refusal(`${url('packs')}#app`, EXIT.mount, `key=${key}`)).toContain('not signed');
});

test('an ordinary user has a cache of its own', async () => {
  const place = scratch.nobody();
  const [at, home] = [scratch.directory('mnt of nobody'), scratch.directory('home')];
  for (const path of [at, home]) chownSync(path, NOBODY, NOBODY);
  // every block is verified when it is read
  const words = [`cache=${join(home, 'cache')}`, 'verify=read', 'threads=1'];
  const mounted = await scratch.mount(image, { place, helper: true, at, repos: [url('packs')], words });
  const outcome = await run(place.command('cmp', mounted.at('large'), join(source, 'large')));
  expect(outcome).toMatchObject({ status: 0, stdout: '', stderr: '' });
  expect(statSync(join(home, 'cache/blake3')).uid).toBe(NOBODY);
  await mounted.unmount();

  const foreign = scratch.directory('cache of root');
  openCache(join(foreign, 'blake3'), 'blake3');
  const args = ['--repo', url('packs'), '-o', `cache=${foreign}`, image, at];
  const refused = messageOf(await scratch.tool('cfs-mount', args, place), EXIT.mount, 'cfs-mount');
  expect(refused).toContain(`Cannot write to the cache ${foreign}/blake3: permission denied`);
});

const tryMount = (repos: readonly string[], ...words: readonly string[]): Promise<Outcome> => {
  const options = repos.flatMap((repo) => ['--repo', repo]);
  return scratch.tool('cfs-mount', [...options, '-o', words.join(','), image, scratch.directory('mnt')]);
};

test('what cannot be mounted', async () => {
  const cache = `cache=${scratch.at('cache-6')}`;
  const upper = scratch.directory('upper');
  const work = scratch.directory('work');
  const refused = async (repo: string, ...words: readonly string[]): Promise<string> =>
    messageOf(await tryMount([repo], cache, ...words), EXIT.usage, 'cfs-mount');
  expect(await refused('https://me:secret@example.org/x')).toContain('it has a user name or a password');
  expect(await refused('http://example.org/x')).toContain('http to another machine is not encrypted');
  expect(await refused('ftp://example.org/x')).toContain('"ftp" is not known');
  expect(await refused(`${url('plain')}#app`)).toContain('without the name of an image');
  expect(await refused(url('plain'), `upperdir=${upper}`, `workdir=${work}`)).toContain('exclude each other');
  expect(await refused(url('plain'), 'verify=fsverity')).toContain('exclude each other');
  expect(await refused(url('plain'), `cacert=${image}`)).toContain(`Cannot read certificates ${image}: it has no`);
  mkdirSync(scratch.at('taken'));
  await scratch.pack(scratch.directory('empty'), { store: scratch.at('taken', 'blake3') });
  const taken = await tryMount([url('plain')], `cache=${scratch.at('taken')}`);
  expect(messageOf(taken, EXIT.mount, 'cfs-mount')).toContain('as a cache: it is a repository');
});
