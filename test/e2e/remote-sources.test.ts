/** Remote repositories where commands take a local one: copy, fsck; cat, extract, tar, missing. */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkRepository, copyImages } from '../../src/index.ts';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { expectWhole, messageOf, objectsIn } from './cli.ts';
import { expectEqual, useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { HERE, type Outcome, run } from './run.ts';

const scratch = useScratch();
let source: string;
let image: string;
let other: string;
/** A repository in a directory, with the image `app` and its objects. */
let web: string;
let nginx: Nginx;

const FILES = 30;

beforeAll(async () => {
  source = scratch.directory('source');
  const random = new Random(16);
  for (let i = 0; i < FILES; i++) {
    mkdirSync(join(source, `d${i % 3}`), { recursive: true });
    writeFileSync(join(source, `d${i % 3}/f${i}`), random.bytes(i === 7 ? 2_500_000 : 1000 + i * 3000));
  }
  ({ image } = await scratch.pack(source, { image: scratch.at('app.cfs') }));
  web = scratch.directory('web');
  nginx = await Nginx.start(scratch, web);
  expect((await repo('push', scratch.store, image, web)).status).toBe(EXIT.ok);
  writeFileSync(join(source, 'd1/new'), random.bytes(5000));
  ({ image: other } = await scratch.pack(source, { image: scratch.at('other.cfs') }));
});

afterAll(async () => {
  await nginx?.stop();
});

const repo = (...args: readonly string[]) => scratch.tool('cfs-repo', args);

async function json(status: number, ...args: readonly string[]): Promise<Record<string, unknown>> {
  const [command = '', ...rest] = args;
  const outcome = await repo(command, '--json', ...rest);
  expect({ status: outcome.status, stderr: outcome.stderr }).toEqual({ status, stderr: '' });
  return JSON.parse(outcome.stdout) as Record<string, unknown>;
}

test('copy takes objects from servers, from directories before and after them', async () => {
  const all = scratch.at('copied');
  const first = await json(EXIT.ok, 'copy', '--from', nginx.url, all, image);
  expect(first).toMatchObject({ objects: FILES, existing: 0, problems: [], images: [{ path: image, missing: 0 }] });
  expectWhole(all);
  nginx.requests();
  expect(await json(EXIT.ok, 'copy', '--from', nginx.url, all, image)).toMatchObject({ objects: 0, existing: FILES });
  expect(nginx.requests()).toHaveLength(1);
  // the server has no map of the other image: what it lacks is in the directory
  const mixed = scratch.at('mixed');
  const both = ['--from', nginx.url, '--from', scratch.store];
  const copied = await json(EXIT.ok, 'copy', ...both, mixed, image, other);
  expect(copied).toMatchObject({ objects: FILES + 1, existing: 0, problems: [] });
  expect(copied).toMatchObject({ images: [{ missing: 0 }, { missing: 0 }] });
  expectWhole(mixed);
});

test('copy says what a server does not have, and where it asked', async () => {
  const target = scratch.at('incomplete');
  const { status, stderr } = await repo('copy', '--from', nginx.url, target, image, other);
  expect(status).toBe(EXIT.store);
  expect(stderr).toMatch(/^cfs-repo: Cannot copy object [0-9a-f]{64}: http:\S+objects\S+: /m);
  expect(stderr).toContain(`${other} is not registered: 1 object of it could not be copied`);
  expect(objectsIn(target)).toHaveLength(FILES);
  // objects of both are asked for by the second image, after the map of the first is not there
  const late = scratch.at('late');
  const copied = await repo('copy', '--json', '--from', nginx.url, late, other, image);
  expect(copied.status).toBe(EXIT.store);
  expect(JSON.parse(copied.stdout)).toMatchObject({ objects: FILES, images: [{ missing: 1 }, { missing: 0 }] });
  expect(objectsIn(late)).toHaveLength(FILES);
  const nothing = scratch.at('nothing');
  const named = await repo('copy', '--from', `${nginx.url}#app`, nothing, image);
  expect(messageOf(named, EXIT.usage, 'cfs-repo')).toMatch(/#app names an image: give the repository alone/);
  const dead = await repo('copy', '--from', 'http://127.0.0.1:1', nothing, image);
  expect(messageOf(dead, EXIT.store, 'cfs-repo')).toMatch(/connection refused$/);
  expect(existsSync(nothing)).toBe(false);
});

/** A mirror that answers, after one that does not. */
const all = (url: string): string => `http://127.0.0.1:1|${url}`;

/** A copy of the repository with two damaged objects and a missing one. */
async function damaged(name: string): Promise<string> {
  const store = scratch.at(name);
  expect((await repo('copy', '--from', scratch.store, store, image)).status).toBe(EXIT.ok);
  const [first = '', second = '', third = ''] = objectsIn(store).sort();
  for (const object of [first, second]) {
    chmodSync(join(store, 'objects', object), 0o644);
    writeFileSync(join(store, 'objects', object), 'damaged');
    chmodSync(join(store, 'objects', object), 0o444);
  }
  rmSync(join(store, 'objects', third));
  return store;
}

test('fsck fetches good copies from a server, if no directory has one', async () => {
  const store = await damaged('damaged');
  const dry = await json(EXIT.found, 'fsck', '-n', '--repair-from', nginx.url, store);
  expect(dry.damaged).toMatchObject(Array.from({ length: 3 }, () => ({ repaired: false })));
  const { damaged: repaired } = await json(EXIT.repaired, 'fsck', '--repair-from', all(nginx.url), store);
  expect(repaired).toMatchObject(Array.from({ length: 3 }, () => ({ repaired: true, from: all(nginx.url) })));
  expect(readdirSync(join(store, 'quarantine')).filter((name) => name !== 'lock')).toHaveLength(2);
  expect(expectWhole(store)).toHaveLength(FILES);
  expect(JSON.parse(readFileSync(join(store, 'runs/fsck'), 'utf8'))).toMatchObject({ damaged: 3, repaired: 3 });
  expect(await json(EXIT.ok, 'fsck', store)).toMatchObject({ damaged: [] });
});

test('fsck says why a server did not help', async () => {
  const store = await damaged('not-repaired');
  const stray = Buffer.alloc(32, 7).toString('hex');
  writeFileSync(join(store, 'objects/07', stray.slice(2)), 'stray', { mode: 0o444 });
  const bad = scratch.directory('bad');
  cpSync(web, bad, { recursive: true });
  rmSync(join(bad, 'packs'), { recursive: true });
  const server = await Nginx.start(scratch, bad);
  try {
    const result = await json(EXIT.found, 'fsck', '--repair-from', server.url, store);
    const hindrances = (result.damaged as { object: string; hindrance: string }[]).map(({ object, hindrance }) =>
      object === stray ? 'stray' : hindrance.slice(0, server.url.length),
    );
    expect(hindrances.sort()).toEqual([server.url, server.url, server.url, 'stray']);
    const after = await json(EXIT.found, 'fsck', '--repair-from', nginx.url, store);
    const left = (after.damaged as { object: string; repaired: boolean }[]).filter(({ repaired }) => !repaired);
    expect(left).toMatchObject([{ object: stray, hindrance: expect.stringMatching(/^no registered image needs it/) }]);
  } finally {
    await server.stop();
  }
});

/** A directory for temporary files, and what a command of cfs-info printed; it must leave nothing there. */
async function info(...args: readonly string[]): Promise<Outcome> {
  const temporary = scratch.directory(`tmp-${++counter}`);
  const command = HERE.tool('cfs-info', args, { ...scratch.environment, TMPDIR: temporary });
  const outcome = await run(command);
  expect(readdirSync(temporary)).toEqual([]);
  return outcome;
}
let counter = 0;

const packsAsked = (): string[] => nginx.requests().filter((line) => line.includes('/packs/'));

test('cat, extract and tar fetch what they read, and nothing else', async () => {
  nginx.requests();
  const one = await info('cat', '--repo', nginx.url, image, '/d1/f1', '/d0/f0');
  expect({ status: one.status, stderr: one.stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  const contents = [join(source, 'd1/f1'), join(source, 'd0/f0')].map((file) => readFileSync(file));
  // text: bytes that are not UTF-8 are replaced in both
  expect(one.stdout === Buffer.concat(contents).toString('utf8')).toBe(true);
  // two parts of one pack
  expect(packsAsked()).toEqual([expect.stringMatching(/ 206$/), expect.stringMatching(/ 206$/)]);
  const target = scratch.at('extracted');
  const extracted = await info('extract', '-C', target, '--json', '--repo', nginx.url, image, '/d2');
  expect(extracted).toMatchObject({ status: EXIT.ok, stderr: '' });
  expect(JSON.parse(extracted.stdout)).toMatchObject({ problems: [] });
  await expectEqual(join(source, 'd2'), join(target, 'd2'));
  const [here, there] = [scratch.at('here.tar'), scratch.at('there.tar')];
  for (const [repository, archive] of [
    [scratch.store, here],
    [nginx.url, there],
  ] as const) {
    const command = HERE.tool('cfs-info', ['tar', '--repo', repository, image], scratch.environment);
    expect(await run(['sh', '-c', '"$@" > "$0"', archive, ...command])).toMatchObject({ status: 0, stderr: '' });
  }
  expect(readFileSync(there).equals(readFileSync(here))).toBe(true);
  nginx.requests();
  expect(await info('cat', '--repo', scratch.store, '--repo', nginx.url, image, '/d1/f1')).toMatchObject({ status: 0 });
  expect(packsAsked()).toEqual([]);
});

test('what cannot be fetched is said, and the rest is read', async () => {
  const { status, stdout, stderr } = await info('cat', '--repo', nginx.url, other, '/d1/new', '/nope');
  expect({ status, stdout }).toEqual({ status: EXIT.store, stdout: '' });
  expect(stderr).toMatch(/^cfs-info: Cannot fetch object [0-9a-f]{64}: http:\S+\/objects\/\S+: /m);
  expect(stderr).toMatch(/^cfs-info: Cannot find \/nope in image/m);
  const dead = await info('extract', '-C', scratch.at('never'), '--repo', 'http://127.0.0.1:1', image);
  expect(messageOf(dead, EXIT.store, 'cfs-info')).toMatch(/connection refused$/);
  const insecure = await info('tar', '--repo', 'http://example.org/x', image);
  expect(messageOf(insecure, EXIT.usage, 'cfs-info')).toMatch(/--insecure/);
});

test('missing asks a server, and fetches no contents', async () => {
  nginx.requests();
  expect(await info('missing', '--repo', nginx.url, image)).toEqual(expect.objectContaining({ status: 0, stdout: '' }));
  const packs = readdirSync(join(web, 'packs')).length;
  expect(packsAsked()).toHaveLength(packs);
  const bad = scratch.directory('fewer');
  cpSync(web, bad, { recursive: true });
  rmSync(join(bad, 'packs', packOf(2_500_000)));
  const server = await Nginx.start(scratch, bad);
  try {
    const { status, stdout, stderr } = await info('missing', '--json', '--repo', server.url, image);
    expect(status).toBe(EXIT.found);
    expect(JSON.parse(stdout)).toMatchObject([{ size: 2_500_000 }]);
    expect(stderr).toContain(`1 of 30 objects (2,500,000 bytes) of ${image} is missing from ${server.url}`);
    const both = await info('missing', '--repo', server.url, '--repo', nginx.url, image);
    expect(both).toMatchObject({ status: EXIT.ok, stdout: '' });
  } finally {
    await server.stop();
  }
});

/** The pack that is this large, or a little larger. */
const packOf = (size: number): string =>
  readdirSync(join(web, 'packs')).find((name) => statSync(join(web, 'packs', name)).size >= size) ?? '';

test('programs do the same', async () => {
  const copied = scratch.at('copied-by-program');
  const { objects, failures } = await copyImages(copied, [image], { from: [nginx.url] });
  expect({ objects, failures }).toEqual({ objects: FILES, failures: [] });
  const store = await damaged('damaged-for-program');
  const { damaged: repaired } = await checkRepository(store, { repairFrom: [nginx.url] });
  expect(repaired.map(({ from }) => from)).toEqual([nginx.url, nginx.url, nginx.url]);
  expectWhole(store);
});
