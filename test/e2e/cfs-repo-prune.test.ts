/** `cfs-repo prune`: what a directory that images were pushed to loses, and what never. */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { expectWhole, messageOf } from './cli.ts';
import { useScratch } from './harness.ts';

const scratch = useScratch();
let old: string;
let image: string;
/** The files of a push of `image` alone. */
let own: readonly string[];
/** A directory with `old` and `image`; each test makes a copy. */
let both: string;

const repo = (...args: readonly string[]) => scratch.tool('cfs-repo', args);

async function json(...args: readonly string[]): Promise<Record<string, unknown>> {
  const [command = '', ...rest] = args;
  const { status, stdout, stderr } = await repo(command, '--json', ...rest);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return JSON.parse(stdout) as Record<string, unknown>;
}

const filesIn = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(directory, name)).isFile())
    .sort();

beforeAll(async () => {
  const source = scratch.directory('source');
  const random = new Random(17);
  for (let i = 0; i < 8; i++) writeFileSync(join(source, `f${i}`), random.bytes(i === 7 ? 1_200_000 : 2000));
  ({ image: old } = await scratch.pack(source, { image: scratch.at('old.cfs') }));
  for (const i of [1, 7]) writeFileSync(join(source, `f${i}`), random.bytes(1_100_000));
  ({ image } = await scratch.pack(source, { image: scratch.at('app.cfs') }));
  const alone = scratch.at('alone');
  await json('push', '--no-fsync', scratch.store, image, alone);
  own = filesIn(alone);
  both = scratch.at('both');
  await json('push', '--no-fsync', '--ref', 'releases/old', scratch.store, old, both);
  await json('push', '--no-fsync', scratch.store, image, both);
});

let counter = 0;
/** A copy of `both`, an hour old. */
function copyOfBoth(): string {
  const copy = scratch.at(`copy-${++counter}`);
  for (const name of filesIn(both)) {
    mkdirSync(dirname(join(copy, name)), { recursive: true });
    writeFileSync(join(copy, name), readFileSync(join(both, name)));
    age(join(copy, name));
  }
  return copy;
}

function age(file: string): void {
  const then = new Date(Date.now() - 3_600_000);
  utimesSync(file, then, then);
}

test('what no name leads to is deleted, once it is old enough', async () => {
  const web = copyOfBoth();
  const all = filesIn(web);
  const kept = { names: 2, images: 2, freed: { files: 0, bytes: 0 } };
  expect(await json('prune', '--min-age', '0', web)).toMatchObject(kept);
  rmSync(join(web, 'refs/releases/old'));
  const expected = { names: 1, images: 1, freed: { files: all.length - 1 - own.length } };
  expect(await json('prune', web)).toMatchObject({ freed: { files: 0 }, young: expected.freed });
  const verbose = await repo('prune', '--json', '-n', '-v', '--min-age', '30m', web);
  const dry = JSON.parse(verbose.stdout) as { freedFiles: readonly { name: string }[] };
  expect(dry).toMatchObject({ ...expected, dryRun: true });
  expect(filesIn(web)).toHaveLength(all.length - 1);
  const { stdout } = await repo('prune', '--min-age', '30m', web);
  expect(stdout).toMatch(/^names {7}1 name of 1 image\nkept {8}\d+ files \(.* MB\)\nfreed {7}\d+ files \(.* MB\)\n$/);
  expect(filesIn(web)).toEqual(own);
  const freed = dry.freedFiles.map(({ name }) => name);
  expect([...freed, ...own].sort()).toEqual(all.filter((name) => name !== 'refs/releases/old'));
});

test('nothing is deleted if it is not certain what is needed', async () => {
  const web = copyOfBoth();
  const [map = ''] = readdirSync(join(web, 'maps'));
  const id = (JSON.parse(readFileSync(join(web, 'refs/app'), 'utf8')) as { image: string }).image;
  rmSync(join(web, 'refs/releases'), { recursive: true });
  const before = filesIn(web);
  const refused = async (file: string, bytes: string | undefined, message: RegExp): Promise<void> => {
    const path = join(web, file);
    const aside = scratch.at('aside');
    renameSync(path, aside);
    if (bytes !== undefined) writeFileSync(path, bytes);
    expect(messageOf(await repo('prune', '--min-age', '0', web), EXIT.store, 'cfs-repo')).toMatch(message);
    renameSync(aside, path);
    expect(filesIn(web)).toEqual(before);
  };
  await refused('meta.json', '{}', /has no meta\.json of a repository$/);
  await refused('refs/app', undefined, /there is no name in refs, so all would be deleted$/);
  await refused('refs/app', '{"image": "x"}', /refs\/app: .*malformed/);
  await refused(`images/${id}.zst`, undefined, /there is no images\/[0-9a-f]{64}\.zst$/);
  await refused(`images/${id}.zst`, 'damaged', /images\/[0-9a-f]{64}\.zst: it is damaged$/);
  await refused(`maps/${id}.zst`, undefined, /there is neither maps\/[0-9a-f]{64}\.zst nor objects\//);
  await refused(`maps/${id}.zst`, 'damaged', /maps\/[0-9a-f]{64}\.zst: it is damaged$/);
  expect(map).toMatch(/^[0-9a-f]{64}\.zst$/);
  const url = await repo('prune', 'https://example.org/images');
  expect(messageOf(url, EXIT.usage, 'cfs-repo')).toMatch(/does not list its files: prune the directory/);
});

test('strange files stay, links are not followed, and unfinished files go', async () => {
  const web = copyOfBoth();
  rmSync(join(web, 'refs/releases'), { recursive: true });
  const [pack = ''] = readdirSync(join(web, 'packs'));
  const strange = ['README', 'packs/README', 'objects/ab/README'];
  mkdirSync(join(web, 'objects/ab'), { recursive: true });
  for (const name of strange) writeFileSync(join(web, name), 'text');
  const leftover = join(web, `packs/${pack}.0123456789ab.tmp`);
  const object = join(web, 'objects/ab', 'c'.repeat(62));
  for (const name of [leftover, object, `${join(web, 'refs/app')}.0123456789ab.tmp`]) {
    writeFileSync(name, 'half');
    age(name);
  }
  await json('prune', '--min-age', '30m', web);
  expect(filesIn(web)).toEqual([...own, ...strange, 'refs/app.0123456789ab.tmp'].sort());
  const elsewhere = scratch.directory('elsewhere');
  writeFileSync(join(elsewhere, 'f'.repeat(64)), 'precious');
  renameSync(join(web, 'packs'), join(web, 'packs-there'));
  symlinkSync(elsewhere, join(web, 'packs'));
  await json('prune', '--min-age', '0', web);
  expect(readdirSync(elsewhere)).toHaveLength(1);
});

test('a push protects packs that it found', async () => {
  const web = copyOfBoth();
  for (const directory of ['refs', 'maps', 'images']) rmSync(join(web, directory), { recursive: true });
  await json('push', scratch.store, image, web);
  // as before the name was written
  await json('push', '--ref', 'other', scratch.store, old, web);
  rmSync(join(web, 'refs/app'));
  expect(await json('prune', '--min-age', '30m', web)).toMatchObject({ freed: { files: 0 } });
  expect(filesIn(web)).toEqual(expect.arrayContaining(own.filter((name) => !name.startsWith('refs'))));
});

test('an image keeps its map and packs under another name', async () => {
  const web = copyOfBoth();
  const before = new Map(filesIn(web).map((name) => [name, readFileSync(join(web, name))]));
  const pushed = await json('push', '--ref', 'again', '--level', '9', scratch.store, image, web);
  expect(pushed).toMatchObject({ ref: 'again', files: 2, reused: pushed['objects'] });
  expect(filesIn(web)).toEqual([...before.keys(), 'refs/again'].sort());
  for (const [name, bytes] of before) expect([name, readFileSync(join(web, name)).equals(bytes)]).toEqual([name, true]);
  // a map whose packs are gone is replaced
  for (const name of own.filter((name) => name.startsWith('packs'))) rmSync(join(web, name));
  await json('push', '--ref', 'again', scratch.store, image, web);
  expect(filesIn(web)).toEqual(expect.arrayContaining(own.filter((name) => name.startsWith('packs'))));
});

test('objects of a local repository are left to gc', async () => {
  const store = scratch.at('local');
  await json('copy', '--no-fsync', '--from', scratch.store, store, old, image);
  await json('push', '--no-fsync', store, image, store);
  const objects = expectWhole(store);
  expect(await json('prune', '--min-age', '0', store)).toMatchObject({ freed: { files: 0 } });
  expect(expectWhole(store)).toEqual(objects);
});
