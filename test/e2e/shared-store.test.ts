/** A store of three users: two of one group, with a umask that permits others nothing, and one outside the group. */
import { chmodSync, chownSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { expectWhole, messageOf, objectsIn } from './cli.ts';
import { useScratch } from './harness.ts';
import { asUser, type Outcome, Place, run, succeed } from './run.ts';

const scratch = useScratch();
const GROUP = 61000;

let directory: string;
let first: Place;
let second: Place;
let other: Place;

/** Runs a command with the umask of a user that shares nothing by accident. */
const user = (uid: number, gid: number, groups: readonly number[] = []): Place => {
  const umask = ['sh', '-c', 'umask 077; exec "$@"', 'sh'];
  return new Place(`user ${uid}`, [...asUser(uid, gid, groups), ...umask], scratch.nobody().tools);
};

beforeAll(() => {
  directory = scratch.directory('team');
  chownSync(directory, 0, GROUP);
  chmodSync(directory, 0o2775);
  first = user(61001, 61001, [GROUP]);
  second = user(61002, 61002, [GROUP]);
  other = user(61003, 61003);
  for (const name of ['one', 'two']) {
    const tree = scratch.directory(name);
    chmodSync(tree, 0o755);
    for (let i = 0; i < 3; i++) writeFileSync(join(tree, `file${i}`), `${name} ${i} `.repeat(100));
    trees[name] = tree;
  }
});
const trees: Record<string, string> = {};

const repo = (place: Place, ...args: readonly string[]): Promise<Outcome> => run(place.tool('cfs-repo', args));
const done = async (place: Place, ...args: readonly string[]): Promise<string> => {
  const { status, stdout, stderr } = await repo(place, ...args);
  expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: '' });
  return stdout;
};
const pack = async (place: Place, store: string, tree: string, image: string, ...words: string[]): Promise<string> => {
  const args = ['--print-id', ...words, '--store', store, trees[tree] as string, join(directory, image)];
  const { status, stdout, stderr } = await run(place.tool('cfs-mkimage', args));
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout.trim();
};

let serial = 0;
const newStore = (): string => join(directory, `store${serial++}`);

describe.each([
  ['init --shared', async (store: string) => void (await done(first, 'init', '--shared', store))],
  [
    'directories that were made writable for the group',
    async (store: string) => {
      await done(first, 'init', store);
      await succeed([
        'sh',
        '-c',
        'chgrp -R 61000 "$0" && chmod g+rw "$0/lock" && chmod g+r "$0/meta.json" && find "$0" -type d -exec chmod g+rwxs {} +',
        store,
      ]);
    },
  ],
])('a store by %s', (_title, make) => {
  test('can be packed to, cleaned, checked and unregistered from by each user of the group, in any order', async () => {
    const store = newStore();
    await make(store);
    const name = (what: string): string => `${serial}-${what}.cfs`;
    const id = await pack(first, store, 'one', name('a'));
    expect(await pack(second, store, 'one', name('b'))).toBe(id);
    expect(await pack(second, store, 'two', name('c'), '--no-fsync')).not.toBe(id);
    await pack(first, store, 'two', name('d'));
    // all files belong to the group, for any umask
    const made = ['', ...readdirSync(store, { recursive: true, encoding: 'utf8' })].map((path) => join(store, path));
    for (const path of made) {
      const { mode, gid } = statSync(path);
      expect([path, gid]).toEqual([path, GROUP]);
      if (!path.includes('/cache/')) expect([path, mode & 0o040]).toEqual([path, 0o040]);
      if (statSync(path).isDirectory()) expect([path, mode & 0o2070]).toEqual([path, 0o2070]);
    }
    for (const place of [first, second]) {
      expect(await done(place, 'fsck', store)).toContain('damaged     0\n');
      await done(place, 'gc', '--min-age', '0', store);
    }
    expect(expectWhole(store)).toHaveLength(6);
    // the images are private: umask 077
    chmodSync(join(directory, name('a')), 0o644);
    await done(second, 'register', store, join(directory, name('a')));
    await done(second, 'unregister', store, id.slice(0, 10));
    await done(first, 'register', store, join(directory, name('a')));
    for (const what of ['a', 'b']) rmSync(join(directory, name(what)));
    await done(second, 'unregister', '--gone', store);
    await done(second, 'gc', '--min-age', '0', store);
    expect(expectWhole(store)).toHaveLength(3);
  });

  test('can be repaired by one user of the group after another has written', async () => {
    const store = newStore();
    await make(store);
    await pack(first, store, 'one', `${serial}-a.cfs`);
    await succeed(['cp', '-a', store, `${store}.good`]);
    const object = join(store, 'objects', objectsIn(store)[0] as string);
    truncateSync(object, 5);
    expect(await repo(second, 'fsck', '--repair-from', `${store}.good`, store)).toMatchObject({ status: 11 });
    expect(await repo(first, 'gc', '--empty-quarantine', store)).toMatchObject({ status: 0 });
    expect(expectWhole(store)).toHaveLength(3);
  });

  test('is not writable for others', async () => {
    const store = newStore();
    await make(store);
    const args = ['--store', store, trees['one'] as string, join('/tmp', `cfs-other-${process.pid}.cfs`)];
    const outcome = await run(other.tool('cfs-mkimage', args));
    expect(messageOf(outcome, 5)).toContain('permission denied');
    for (const command of ['gc', 'fsck']) expect((await repo(other, command, store)).status).not.toBe(0);
  });
});

test('a store that is not shared follows the umask', async () => {
  const store = newStore();
  await done(first, 'init', store);
  await pack(first, store, 'one', `${serial}-own.cfs`);
  for (const path of readdirSync(store)) expect(statSync(join(store, path)).mode & 0o077).toBe(0);
  for (const object of objectsIn(store)) expect(statSync(join(store, 'objects', object)).mode & 0o777).toBe(0o400);
});

test.each(['0644', '0666', '0770', '660', 'world'])('init refuses --shared=%s', async (word) => {
  expect(messageOf(await repo(first, 'init', `--shared=${word}`, newStore()), 1, 'cfs-repo')).toContain(
    '--shared takes group, all',
  );
});
