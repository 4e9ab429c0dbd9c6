/**
 * Repositories that fail: readers of other files continue, the failure is counted at its repository, and a repository
 * that comes back is used again without a remount. `hanging-repository.test.ts` is about those that do not answer.
 */
import { chmodSync, chownSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { RepositoryStatistics } from '../../src/mount/mount-statistics.ts';
import { infoJson, statsOf } from './asking.ts';
import { mountTmpfs } from './cli.ts';
import { flipBit, objectPath } from './damage.ts';
import { type Mounted, useScratch } from './harness.ts';
import { contentOf, FAR_FILES, farFile, mountFar, type NearAndFar, packNearAndFar } from './near-and-far.ts';
import { HERE, NOBODY, type Place, run, succeed } from './run.ts';
import { dropCaches, until } from './system.ts';

const scratch = useScratch();

let stores: NearAndFar;
let next = 0;

beforeAll(async () => {
  stores = await packNearAndFar(scratch);
});

beforeEach(() => {
  next = 0;
});

/** A file that this test has not read yet. */
const unread = (mounted: Mounted): readonly [string, string] => {
  const name = farFile(next++ % FAR_FILES);
  return [mounted.at(name), contentOf(name)];
};

async function expectRead([path, content]: readonly [string, string], place: Place = HERE): Promise<void> {
  expect(await succeed(place.command('cat', path))).toBe(content);
}

async function expectEio([path]: readonly [string, string], place: Place = HERE): Promise<void> {
  const { status, stdout, stderr } = await run(place.command('cat', path));
  expect({ status, bytes: stdout.length, stderr }).toEqual({
    status: 1,
    bytes: 0,
    stderr: expect.stringContaining('Input/output error'),
  });
}

/** The mount's statistics of the repository in `path`. */
async function repositoryOf(mounted: Mounted, path: string): Promise<RepositoryStatistics> {
  const found = (await statsOf(scratch, mounted)).repositories.find((repository) => repository.path === path);
  expect(found).toBeDefined();
  return found as RepositoryStatistics;
}

/** The number of each outcome at the repository in `path` while `happen` ran. */
async function countedBy(
  mounted: Mounted,
  path: string,
  happen: () => Promise<void>,
): Promise<Pick<RepositoryStatistics, 'served' | 'missing' | 'damaged' | 'failed'>> {
  const before = await repositoryOf(mounted, path);
  await happen();
  const after = await repositoryOf(mounted, path);
  return {
    served: after.served - before.served,
    missing: after.missing - before.missing,
    damaged: after.damaged - before.damaged,
    failed: after.failed - before.failed,
  };
}

describe.each(['verify=open', 'verify=read'])('with %s', (word) => {
  test('a repository whose file system died returns EIO, and serves again when it is mounted anew', async () => {
    const at = scratch.directory('far');
    const far = await mountFar(scratch, stores, at);
    const mounted = await scratch.mount(stores.image, { repos: [scratch.store, far.path], words: [word] });
    const early = unread(mounted);
    await expectRead(early);
    process.kill(far.pid, 'SIGKILL');
    await until('it is dead', async () => (await run(['ls', at])).stderr.includes('Transport endpoint'));

    dropCaches();
    const counted = await countedBy(mounted, at, async () => {
      await expectEio(unread(mounted));
      await expectRead([mounted.at('near'), contentOf('near')]);
      expect(await succeed(['ls', mounted.path])).toContain('near');
    });
    expect(counted).toMatchObject({ served: 0, missing: 0, damaged: 0 });
    expect(counted.failed).toBeGreaterThan(0);

    await far.end();
    await mountFar(scratch, stores, at);
    dropCaches();
    // also files that were open on the dead file system
    await expectRead(early);
    expect((await countedBy(mounted, at, () => expectRead(unread(mounted)))).served).toBeGreaterThan(0);
    await mounted.unmount();
  });

  test('read errors are EIO only for the readers of that object, until the disk reads it again', async () => {
    const far = await mountFar(scratch, stores);
    const mounted = await scratch.mount(stores.image, { repos: [scratch.store, far.path], words: [word] });
    const [victim, other] = [unread(mounted), unread(mounted)];
    // the far mount finds that its object with the content of this object is corrupted, and answers EIO
    const [{ object }] = await infoJson<[{ object: string }]>(scratch, ['where', victim[0]]);
    const [inner] = await infoJson<[{ object: string }]>(scratch, ['where', objectPath(far.path, object)]);
    const file = objectPath(stores.below, inner.object);
    chmodSync(file, 0o644);
    flipBit(file, 100);
    dropCaches();
    const counted = await countedBy(mounted, far.path, async () => {
      await expectEio(victim);
      await expectRead(other);
    });
    expect(counted).toMatchObject({ missing: 0, damaged: 0 });
    expect(counted.failed).toBeGreaterThan(0);
    expect(counted.served).toBeGreaterThan(0);
    flipBit(file, 100);
    dropCaches();
    await expectRead(victim);
  });

  test('a server that may open no more files returns EIO, logs the reason, and continues when it may', async () => {
    const log = scratch.at(`emfile ${word}`);
    const mounted = await scratch.mount(stores.image, {
      repos: [scratch.store, stores.far],
      words: [word],
      args: ['--log', log],
    });
    await expectRead(unread(mounted));
    const limit = (n: string): Promise<string> => succeed(['prlimit', `--pid=${mounted.pid}`, `--nofile=${n}`]);
    const old = /Max open files +(\d+)/.exec(readFileSync(`/proc/${mounted.pid}/limits`, 'latin1'))?.[1] as string;
    // open descriptors stay open
    await limit(`3:${old}`);
    const counted = await countedBy(mounted, stores.far, async () => {
      await expectEio(unread(mounted));
      expect(await succeed(['ls', mounted.path])).toContain('near');
      await expectRead([mounted.at(farFile(0)), contentOf(farFile(0))]);
    });
    expect(counted.failed).toBeGreaterThan(0);
    expect(counted.damaged).toBe(0);
    await limit(`${old}:${old}`);
    await expectRead(unread(mounted));
    expect(readFileSync(log, 'utf8')).toMatch(/: EMFILE: EIO$/m);
  });

  test('objects that the server may not open are EIO until it may', async () => {
    const place = scratch.nobody();
    const at = scratch.directory('mnt of nobody');
    chownSync(at, NOBODY, NOBODY);
    const mounted = await scratch.mount(stores.image, {
      place,
      helper: true,
      at,
      repos: [scratch.store, stores.far],
      words: [word],
    });
    await expectRead(unread(mounted), place);
    const objects = join(stores.far, 'objects');
    chmodSync(objects, 0);
    try {
      const counted = await countedBy(mounted, stores.far, async () => {
        await expectEio(unread(mounted), place);
        await expectRead([mounted.at('near'), contentOf('near')], place);
      });
      expect(counted).toMatchObject({ missing: 0, damaged: 0 });
      expect(counted.failed).toBeGreaterThan(0);
    } finally {
      chmodSync(objects, 0o755);
    }
    await expectRead(unread(mounted), place);
  });

  test('a slow repository blocks only its readers, and is counted as slow', async () => {
    const far = await mountFar(scratch, stores);
    const mounted = await scratch.mount(stores.image, { repos: [scratch.store, far.path], words: [word] });
    dropCaches();
    process.kill(far.pid, 'SIGSTOP');
    try {
      const slow = expectRead(unread(mounted));
      await expectRead([mounted.at('near'), contentOf('near')]);
      await until('it is slow', async () => (await statsOf(scratch, mounted)).slow > 0);
      process.kill(far.pid, 'SIGCONT');
      await slow;
    } finally {
      process.kill(far.pid, 'SIGCONT');
    }
    const { repositories } = await statsOf(scratch, mounted);
    expect(repositories[1]).toMatchObject({ damaged: 0, failed: 0 });
  });
});

test('a repository on a full disk serves', async () => {
  const disk = await mountTmpfs(scratch.at('full'), '1m');
  const source = scratch.directory('small');
  for (let i = 0; i < 5; i++) writeFileSync(join(source, farFile(i)), contentOf(farFile(i)));
  const store = join(disk, 'store');
  const { image } = await scratch.pack(source, { store, args: ['--no-register'] });
  await run(['dd', 'if=/dev/zero', `of=${join(disk, 'filler')}`, 'bs=4k']);
  const log = scratch.at('full.log');
  const mounted = await scratch.mount(image, { repos: [store], args: ['--log', log] });
  for (const name of readdirSync(mounted.path)) expect(readFileSync(mounted.at(name), 'utf8')).toBe(contentOf(name));
  expect(await repositoryOf(mounted, store)).toMatchObject({ served: 5, failed: 0 });
  // the mount could not write the list of objects that it needs, and logs that
  expect(readFileSync(log, 'utf8')).toContain('no space left on device');
});
