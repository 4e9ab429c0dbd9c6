/** `cfs-repo copy`: objects of images into another repository. */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { objectsIn } from './cli.ts';
import { expectEqual, useScratch } from './harness.ts';
import { HERE, run } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
let source: string;
let image: string;
let newer: string;

beforeAll(async () => {
  source = scratch.directory('source');
  const random = new Random(16);
  for (let i = 0; i < 300; i++) {
    if (i % 50 === 0) mkdirSync(join(source, `d${i}`));
    writeFileSync(join(source, `d${i - (i % 50)}`, `f${i}`), random.bytes(i === 7 ? 3_000_000 : 100 + i * 20));
  }
  ({ image } = await scratch.pack(source));
  for (let i = 0; i < 10; i++) writeFileSync(join(source, `new${i}`), random.bytes(2000));
  ({ image: newer } = await scratch.pack(source));
});

const copy = (...args: readonly string[]) => scratch.tool('cfs-repo', ['copy', '--from', scratch.store, ...args]);

test('copies what is missing, registers the images, and makes the repository', async () => {
  const target = scratch.at('copy');
  const first = JSON.parse((await copy('--json', target, image)).stdout) as Record<string, unknown>;
  expect(first).toMatchObject({ objects: 300, existing: 0, problems: [], hash: 'blake3' });
  expect(first['images']).toMatchObject([{ path: image, missing: 0 }]);
  const { stdout, stderr, status } = await copy(target, image, newer);
  expect({ status, stderr }).toEqual({ status: EXIT.ok, stderr: '' });
  expect(stdout).toMatch(/^copied {6}10 objects, 20\.0 kB .*\nexisting {4}300 objects\nregistered {2}2 images\n$/);
  expect(objectsIn(target).sort()).toEqual(objectsIn(scratch.store).sort());
  expect((await scratch.tool('cfs-repo', ['fsck', target])).status).toBe(EXIT.ok);
  expect((await scratch.tool('cfs-repo', ['images', target])).stdout.trim().split('\n')).toHaveLength(3);
  expect(readdirSync(join(target, 'tmp'))).toEqual([]);
  const mounted = await scratch.mount(newer, { repos: [target] });
  await expectEqual(source, mounted.path);
});

test('a damaged object is not copied, unless another repository has a good one', async () => {
  const bad = scratch.at('bad');
  await copy(bad, image);
  const [small, large] = [107, 3_000_000].map((size) =>
    objectsIn(bad).find((name) => statSync(join(bad, 'objects', name)).size >= size),
  ) as [string, string];
  for (const name of new Set([small, large])) {
    const path = join(bad, 'objects', name);
    const bytes = readFileSync(path);
    bytes[5] = (bytes[5] as number) ^ 1;
    chmodSync(path, 0o644);
    writeFileSync(path, bytes);
  }
  const target = scratch.at('from-bad');
  const { status, stderr, stdout } = await scratch.tool('cfs-repo', ['copy', '--from', bad, target, image]);
  expect(status).toBe(EXIT.store);
  expect(stderr).toContain(`Cannot copy object ${large.replace('/', '')}: ${bad}: its content is corrupted`);
  expect(stderr).toContain(`${image} is not registered: 2 objects of it could not be copied`);
  expect(stdout).toContain('registered  0 images');
  expect(objectsIn(target)).toHaveLength(298);
  expect((await scratch.tool('cfs-repo', ['fsck', target])).status).toBe(EXIT.ok);
  const both = await scratch.tool('cfs-repo', ['copy', '--from', bad, '--from', scratch.store, target, image]);
  expect(both).toMatchObject({ status: EXIT.ok, stderr: '' });
  expect(objectsIn(target)).toHaveLength(300);
});

test.each([1, 40, 250])('killed at call %i of a thread, it is continued', async (at) => {
  const target = scratch.at(`killed-${at}`);
  const args = ['copy', '--threads', '1', '--no-fsync', '--from', scratch.store, target, image];
  const environment = { ...scratch.environment, CFS_FAIL_AT: `worker:${at}:kill` };
  expect((await run(HERE.tool('cfs-repo', args, environment))).signal).toBe('SIGKILL');
  expect((await scratch.tool('cfs-repo', ['fsck', target])).status).toBe(EXIT.ok);
  const before = objectsIn(target).length;
  const again = JSON.parse((await copy('--json', target, image)).stdout) as { objects: number; existing: number };
  expect(again).toMatchObject({ objects: 300 - before, existing: before });
  expect(readdirSync(join(target, 'tmp'))).toEqual([]);
});

test('a full disk is reported, and what was copied stays', async () => {
  const target = scratch.at('full');
  const args = ['copy', '--threads', '1', '--no-fsync', '--from', scratch.store, target, image];
  const environment = { ...scratch.environment, CFS_FAIL_AT: 'worker:100:ENOSPC' };
  const { status, stderr } = await run(HERE.tool('cfs-repo', args, environment));
  expect(status).toBe(EXIT.store);
  expect(stderr).toContain(`Cannot write to repository ${target}: no space left on device`);
  expect(objectsIn(target).length).toBeGreaterThan(5);
  await until('no file is left', () => readdirSync(join(target, 'tmp')).length === 0);
});

test('reports what cannot be done', async () => {
  const target = scratch.at('never');
  expect(await scratch.tool('cfs-repo', ['copy', target, image])).toMatchObject({
    status: EXIT.usage,
    stderr: 'cfs-repo: --from DIR is missing: the repository to copy from\n',
  });
  expect(await copy(target, scratch.at('no.cfs'))).toMatchObject({ status: EXIT.image });
  const other = scratch.at('verity');
  await scratch.tool('cfs-repo', ['init', '--hash', 'fsverity-sha256', other]);
  expect((await copy(other, image)).stderr).toContain('it names objects by fsverity-sha256, the image by blake3');
  truncateSync(image, statSync(image).size);
  expect(() => statSync(target)).toThrow();
});

test('takes the beginning of the id of an image that a source has registered', async () => {
  const { id } = JSON.parse((await scratch.tool('cfs-info', ['id', '--json', newer])).stdout)[0] as { id: string };
  const target = scratch.at('by-id');
  const { stdout } = await copy('--json', target, id.slice(0, 8));
  expect(JSON.parse(stdout)).toMatchObject({ images: [{ id, path: newer, missing: 0 }], problems: [] });
  // a file of the name takes precedence; an unknown id is taken for the name of a file
  const { status, stderr } = await copy(target, 'abcdef12');
  expect(status).toBe(EXIT.image);
  expect(stderr).toBe('cfs-repo: Cannot read image abcdef12: no such file or directory\n');
  const other = join(scratch.store, 'roots', `${id.slice(0, 20)}${'0'.repeat(44)}`);
  writeFileSync(other, readFileSync(join(scratch.store, 'roots', id)));
  const ambiguous = await copy(target, id.slice(0, 20));
  expect(ambiguous).toMatchObject({ status: EXIT.usage, stdout: '' });
  expect(ambiguous.stderr).toContain(`the ids of 2 images begin with ${id.slice(0, 20)}: `);
  rmSync(other);
  const moved = `${newer}-moved`;
  renameSync(newer, moved);
  expect((await copy(target, id.slice(0, 12))).status).toBe(EXIT.ok);
  renameSync(moved, join(scratch.directory('elsewhere'), 'image.cfs'));
  expect(await copy(target, id)).toMatchObject({
    status: EXIT.image,
    stderr: `cfs-repo: Cannot read image ${id.slice(0, 12)}, registered in ${scratch.store}: ${newer} (gone)\n`,
  });
});
