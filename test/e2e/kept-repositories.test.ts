/** Objects are still served from the mounted repository if it is moved, and if something else is at its old path. */
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { initRepository } from '../../src/store/open-repository.ts';
import { infoJson } from './asking.ts';
import { mountTmpfs, objectsIn } from './cli.ts';
import { type Mounted, useScratch } from './harness.ts';
import { HERE, succeed } from './run.ts';
import { dropCaches } from './system.ts';

const scratch = useScratch();
const source = scratch.at('source');
const NAMES = ['seen', 'unseen', 'large'];

beforeAll(() => {
  mkdirSync(source);
  for (const name of NAMES) writeFileSync(join(source, name), Buffer.alloc(name === 'large' ? 300_000 : 5000, name));
});

/** Packs into a store below `directory`, mounts, and reads one file. */
async function mountFrom(
  directory: string,
  words: readonly string[],
  inNamespace: boolean,
): Promise<readonly [Mounted, string]> {
  const store = join(directory, 'store');
  const { image } = await scratch.pack(source, { store });
  const place = inNamespace ? await scratch.namespace('user namespace') : HERE;
  const mounted = await scratch.mount(image, { place, repos: [store], words });
  expect(await read(mounted, 'seen')).toBe(readFileSync(join(source, 'seen'), 'latin1'));
  return [mounted, store];
}

const read = (mounted: Mounted, ...names: readonly string[]): Promise<string> =>
  succeed(mounted.place.command('cat', ...names.map((name) => mounted.at(name))));

async function expectServed(mounted: Mounted): Promise<void> {
  for (let pass = 0; pass < 2; pass++) {
    expect(await read(mounted, ...NAMES)).toBe(
      NAMES.map((name) => readFileSync(join(source, name), 'latin1')).join(''),
    );
    dropCaches();
  }
}

/** A repository with all objects by name and size, but with other bytes. */
function pretend(store: string, like: string): void {
  const { path } = initRepository(store, 'blake3');
  for (const name of objectsIn(like)) {
    writeFileSync(join(path, 'objects', name), Buffer.alloc(readFileSync(join(like, 'objects', name)).length, 'wrong'));
  }
}

const MODES: readonly (readonly [string, readonly string[], boolean])[] = [
  ['verify=open', ['verify=open'], false],
  ['verify=read', ['verify=read'], false],
  ['verify=off', ['verify=off'], false],
  ['verify=open in a user namespace', ['verify=open'], true],
  ['verify=off through fuse-native', ['verify=off', 'driver=fuse-native'], false],
];

describe.each(MODES)('with %s a mount still serves', (title, words, inNamespace) => {
  test('after its repository was renamed, and another with other bytes is at the old path', async () => {
    const [mounted, store] = await mountFrom(scratch.directory(title), words, inNamespace);
    renameSync(store, `${store}.moved`);
    await expectServed(mounted);
    pretend(store, `${store}.moved`);
    await expectServed(mounted);
    rmSync(store, { recursive: true });
    symlinkSync('/nowhere', store);
    await expectServed(mounted);
  });

  test('after the file system of its repository was lazily unmounted', async () => {
    const directory = await mountTmpfs(scratch.at(`${title} detached`));
    const [mounted, store] = await mountFrom(directory, words, inNamespace);
    await succeed(mounted.place.command('umount', '-l', directory)).catch(() => undefined);
    await succeed(['umount', '-l', directory]).catch(() => undefined);
    expect(readdirSync(directory)).toEqual([]);
    pretendNothing(store);
    await expectServed(mounted);
  });
});

/** Replaces the repository by something else. */
function pretendNothing(store: string): void {
  mkdirSync(join(store, 'objects'), { recursive: true });
}

test('a new repository at the path of a deleted one serves, and cfs-info where reports that', async () => {
  const [mounted, store] = await mountFrom(scratch.directory('anew'), ['verify=open'], false);
  cpSync(store, `${store}.copy`, { recursive: true });
  rmSync(store, { recursive: true });
  const before = await infoJson<{ holders: unknown[] }[]>(scratch, ['where', mounted.at('unseen')]);
  expect(before[0]?.holders).toEqual([]);
  renameSync(`${store}.copy`, store);
  await expectServed(mounted);
  const after = await infoJson<{ verified: string; holders: unknown[] }[]>(scratch, ['where', mounted.at('unseen')]);
  expect(after[0]).toMatchObject({ verified: 'yes', holders: [{ number: 1 }] });
});
