/** `cfs-repo cache`, also beside a mount that uses the cache. */
import { chownSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { messageOf, objectsIn } from './cli.ts';
import { expectEqual, useScratch } from './harness.ts';
import { Nginx } from './nginx.ts';
import { NOBODY, type Place, run } from './run.ts';

const scratch = useScratch();
const cache = scratch.at('cache');
let nginx: Nginx;
let source: string;

beforeAll(async () => {
  const random = new Random(29);
  source = scratch.directory('source');
  for (let i = 0; i < 20; i++) writeFileSync(join(source, `f${i}`), random.bytes(5000));
  const { image } = await scratch.pack(source, { image: scratch.at('app.cfs') });
  const web = scratch.at('web');
  expect((await scratch.tool('cfs-repo', ['push', '--json', scratch.store, image, web])).status).toBe(EXIT.ok);
  nginx = await Nginx.start(scratch, web);
});

afterAll(() => nginx?.stop());

const repo = (args: readonly string[], place?: Place) => scratch.tool('cfs-repo', ['cache', ...args], place);

async function json(...args: readonly string[]): Promise<unknown> {
  const { status, stdout, stderr } = await repo(['--json', ...args]);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  return JSON.parse(stdout);
}

test('a mount goes on while its cache is cleared, and keeps its image', async () => {
  const words = [`cache=${cache}`, 'cache-size=1G'];
  const mounted = await scratch.mount(`${nginx.url}#app`, { repos: [], words });
  await expectEqual(source, mounted.path);
  expect(await json(cache)).toMatchObject({
    objects: [{ hash: 'blake3', count: 20 }],
    images: { count: 1, inUse: 1 },
    mounts: [{ mountpoint: mounted.path, cacheSize: 1 << 30 }],
  });
  expect(await json('--clear', '--dry-run', cache)).toMatchObject({
    deleted: { objects: 20, images: 0 },
    dryRun: true,
  });
  expect(objectsIn(join(cache, 'blake3'))).toHaveLength(20);
  const less = await repo(['--trim', '1K', cache]);
  expect(less.status).toBe(EXIT.found);
  expect(less.stdout).toContain('20 objects, 0 images, 164 kB');
  expect(less.stderr).toContain('are left: the rest is pinned, or images of mounts');
  expect(objectsIn(join(cache, 'blake3'))).toEqual([]);
  await expectEqual(source, mounted.path);
  expect(await json('--clear', cache)).toMatchObject({ images: { count: 1 } });
  // of a pinned image, what is fetched from now on stays, without the mount, too
  await expectEqual(source, mounted.path);
  await mounted.unmount();
  const { id } = mounted.report;
  const pin = { id, hash: 'blake3', objects: 20, cached: 20, hasImage: true };
  expect(await json('--pin', `${nginx.url}#app`, cache)).toMatchObject({ pinned: id, pins: [pin] });
  expect(await json('--clear', cache)).toMatchObject({ deleted: { objects: 0, images: 0 }, pins: [pin] });
  const kept = await repo(['--trim', '1K', cache]);
  expect(kept.stdout).toContain(`pinned  ${id}: 20 of its 20 objects are here`);
  expect(kept.status).toBe(EXIT.found);
  const copy = messageOf(await repo(['--pin', `${nginx.url}@${'1'.repeat(64)}`, cache]), EXIT.image, 'cfs-repo');
  expect(copy).toContain('it is not in the cache');
  const root = join(cache, 'blake3/roots', id);
  const list = readFileSync(root);
  writeFileSync(root, list.subarray(0, 100));
  expect(messageOf(await repo(['--clear', cache]), EXIT.store, 'cfs-repo')).toContain('Nothing is deleted: ');
  expect(await json('--pin', id.slice(0, 12), cache)).toMatchObject({ pins: [pin] });
  writeFileSync(root, 'damaged again');
  expect(await json('--unpin', join(cache, 'images', `${id}.cfs`), cache)).toMatchObject({ unpinned: id, pins: [] });
  expect(messageOf(await repo(['--unpin', id, cache]), EXIT.usage, 'cfs-repo')).toContain('is not pinned');
  expect(await json('--clear', cache)).toMatchObject({ deleted: { images: 1 }, bytes: 0, mounts: [] });
  expect(readdirSync(join(cache, 'images'))).toEqual([]);
});

test('what is not deleted', async () => {
  expect(messageOf(await repo(['--clear', scratch.store]), EXIT.store, 'cfs-repo')).toContain('it is a repository');
  expect(existsSync(join(scratch.store, 'meta.json'))).toBe(true);
  expect(messageOf(await repo(['--clear', '--trim', '1G']), EXIT.usage, 'cfs-repo')).toContain('exclude each other');
  const foreign = scratch.directory('foreign');
  chownSync(foreign, NOBODY, NOBODY);
  expect(messageOf(await repo(['--clear', foreign]), EXIT.store, 'cfs-repo')).toContain(`user ${NOBODY} owns it`);
  const image = join(cache, 'images', `${'1'.repeat(64)}.cfs`);
  writeFileSync(image, 'x');
  const other = messageOf(await repo(['--clear', cache], scratch.nobody()), EXIT.store, 'cfs-repo');
  expect(other).toContain(`Cannot clean the cache ${cache}: permission denied`);
  expect(existsSync(image)).toBe(true);
  const unused = scratch.at('not made');
  const words = scratch.nobody().tool('cfs-repo', ['cache'], { XDG_CACHE_HOME: unused });
  expect((await run(words)).stdout).toContain(`${unused}/cfs (not made yet)`);
});
