/** `cfs-info stats`: the counts of a mount. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { codeOf } from '../support/suites/filesystem-subject.ts';
import { statsOf } from './asking.ts';
import { useScratch } from './harness.ts';
import { run } from './run.ts';
import { dropCaches, isAlive, until } from './system.ts';

const scratch = useScratch();
const FILES = 5;
const nameOf = (i: number): string => `file-${i}`;

let image: string;
let empty: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, nameOf(i)), `content ${i} `.repeat(100));
  image = (await scratch.pack(source)).image;
  empty = scratch.at('empty');
  expect((await scratch.tool('cfs-repo', ['init', empty])).status).toBe(0);
});

test.each(['verify=open', 'verify=read', 'driver=fuse-native'])(
  'counts requests and outcomes of repositories, with %s',
  async (word) => {
    const mounted = await scratch.mount(image, { repos: [empty, scratch.store], words: [word] });
    for (const name of readdirSync(mounted.path)) readFileSync(mounted.at(name));
    const [first, second] = (await statsOf(scratch, mounted)).repositories;
    expect(first).toMatchObject({ path: empty, served: 0, damaged: 0, failed: 0 });
    expect(first?.missing).toBeGreaterThanOrEqual(FILES);
    expect(second).toMatchObject({ path: scratch.store, missing: 0, damaged: 0, failed: 0 });
    expect(second?.served).toBeGreaterThanOrEqual(FILES);
  },
);

test('counts by name the requests of the kernel, and the replies', async () => {
  const mounted = await scratch.mount(image);
  dropCaches();
  readdirSync(mounted.path);
  expect(codeOf(() => readFileSync(mounted.at('none')))).toBe('ENOENT');
  readFileSync(mounted.at(nameOf(0)));
  const { requests, errors, restarts } = await statsOf(scratch, mounted);
  expect(restarts).toBe(0);
  expect(requests['LOOKUP']).toBeGreaterThanOrEqual(1);
  expect(requests['OPEN']).toBe(1);
  // OPENDIR, missing xattrs and ioctls, seeking: a healthy mount has no errors
  for (const command of ['ls -lR', 'getfattr -n user.none', 'test -t 0 <']) {
    await run(['sh', '-c', `${command} ${mounted.path}`]);
  }
  expect((await statsOf(scratch, mounted)).errors).toEqual({});
  expect(errors).toEqual({});
});

test('counts failures that a reader sees as errors', async () => {
  const mounted = await scratch.mount(image, { repos: [empty] });
  expect(codeOf(() => readFileSync(mounted.at(nameOf(0))))).toBe('EIO');
  expect((await statsOf(scratch, mounted)).errors).toEqual({ EIO: 1 });
});

test('counts servers that died, and starts again at zero with each', async () => {
  const mounted = await scratch.mount(image);
  for (let i = 0; i < FILES; i++) readFileSync(mounted.at(nameOf(i)));
  process.kill(mounted.pid, 'SIGKILL');
  await until('it has ended', () => !isAlive(mounted.pid));
  const { restarts, requests } = await statsOf(scratch, mounted);
  expect(restarts).toBe(1);
  expect(requests['OPEN'] ?? 0).toBe(0);
});

test('is valid for Prometheus', async () => {
  const mounted = await scratch.mount(image);
  const { stdout } = await scratch.tool('cfs-info', ['stats', '--prometheus', mounted.path]);
  for (const line of stdout.trim().split('\n')) {
    expect(line).toMatch(
      /^(?:# (?:HELP|TYPE) cfs_[a-z_]+ .+|cfs_[a-z_]+\{mountpoint="[^"]+"(?:,[a-z]+="[^"]*")*\} \d+)$/,
    );
  }
  expect(stdout).toContain(`outcome="served"`);
});

test('reports that a directory is in no mount', async () => {
  const { status, stderr } = await scratch.tool('cfs-info', ['stats', scratch.path]);
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('is not in a mount of cfs') });
});
