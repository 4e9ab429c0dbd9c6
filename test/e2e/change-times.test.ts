/** Two versions of an image with changes that size and mtime do not show: backup programs and git must notice them. */
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { lutimes } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { S_IFCHR } from '../../src/base/stat-bits.ts';
import { makeDevice, mknod } from '../support/libc.ts';
import { useScratch } from './harness.ts';
import { succeed } from './run.ts';
import { isAlive, until } from './system.ts';

const scratch = useScratch();
const source = scratch.at('source');
const TIME = 1_700_000_000;
const CHANGED = ['device', 'inline', 'link', 'names', 'object'];
const SAME = ['same', 'same-inline', 'same-link', 'same-directory'];
let images: readonly [string, string];

async function write(version: number): Promise<void> {
  rmSync(source, { recursive: true, force: true });
  for (const name of ['names', 'same-directory']) mkdirSync(join(source, name), { recursive: true });
  writeFileSync(join(source, 'inline'), `version=${version}\n`);
  writeFileSync(join(source, 'object'), Buffer.alloc(5000, `version=${version}\n`));
  symlinkSync(`version-${version}`, join(source, 'link'));
  mknod(join(source, 'device'), S_IFCHR | 0o666, makeDevice(1, version));
  writeFileSync(join(source, `names/of-${version}`), 'x');
  writeFileSync(join(source, 'same'), Buffer.alloc(5000, 'same'));
  writeFileSync(join(source, 'same-inline'), 'same');
  symlinkSync('same', join(source, 'same-link'));
  for (const entry of [...readdirSync(source), `names/of-${version}`, '.'])
    await lutimes(join(source, entry), TIME, TIME);
}

beforeAll(async () => {
  await write(1);
  const first = (await scratch.pack(source)).image;
  await write(2);
  images = [first, (await scratch.pack(source)).image];
});

interface Known {
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
}

function known(root: string, name: string): Known {
  const { ino, size, mtimeNs, ctimeNs } = lstatSync(join(root, name), { bigint: true });
  return { ino, size, mtime: mtimeNs, ctime: ctimeNs };
}

/** What programs compare of every entry, in a new mount at the same place. */
async function knownIn(image: string, words: readonly string[] = []): Promise<Map<string, Known>> {
  const at = scratch.at('mnt');
  mkdirSync(at, { recursive: true });
  const mounted = await scratch.mount(image, { at, words });
  const found = new Map([...CHANGED, ...SAME].map((name) => [name, known(at, name)]));
  await mounted.unmount();
  return found;
}

describe.each([
  ['the kernel driver', []],
  ['verify=read', ['verify=read']],
  ['fuse-native', ['driver=fuse-native']],
])('ctime with %s', (_name, words) => {
  test('differs exactly for inodes whose content, target, device or names differ', async () => {
    const [first, again, second] = [
      await knownIn(images[0], words),
      await knownIn(images[0], words),
      await knownIn(images[1], words),
    ];
    expect(again).toEqual(first);
    for (const name of SAME) expect(second.get(name), name).toEqual(first.get(name));
    for (const name of CHANGED) {
      const [before, after] = [first.get(name) as Known, second.get(name) as Known];
      expect({ ...after, ctime: 0n }, name).toEqual({ ...before, ctime: 0n });
      expect(after.ctime, name).not.toBe(before.ctime);
      expect(after.ctime >= after.mtime && after.ctime < after.mtime + 4_097_000_000_000n, name).toBe(true);
    }
  });
});

test('ctime is the same after another server takes over, and after the kernel has forgotten it', async () => {
  const mounted = await scratch.mount(images[0]);
  const before = [...CHANGED, ...SAME].map((name) => known(mounted.path, name));
  process.kill(mounted.pid, 'SIGKILL');
  await until('the server is dead', () => !isAlive(mounted.pid));
  writeFileSync('/proc/sys/vm/drop_caches', '2');
  expect([...CHANGED, ...SAME].map((name) => known(mounted.path, name))).toEqual(before);
});

test('cfs-info stat shows the same ctime as a mount', async () => {
  const mounted = await scratch.mount(images[0]);
  const names = [...CHANGED, ...SAME];
  const { stdout } = await scratch.tool('cfs-info', ['stat', '--json', images[0] as string, ...names]);
  const told = JSON.parse(stdout) as { ctime: number; ctimeNsec: number }[];
  expect(told.map(({ ctime, ctimeNsec }) => BigInt(ctime) * 1_000_000_000n + BigInt(ctimeNsec))).toEqual(
    names.map((name) => known(mounted.path, name).ctime),
  );
});

test('restic saves the changed files', async () => {
  const env = { ...process.env, RESTIC_PASSWORD: 'x', RESTIC_REPOSITORY: scratch.at('restic'), HOME: scratch.path };
  await succeed(['restic', 'init', '--no-cache'], { env });
  const at = scratch.directory('mnt');
  for (const image of images) {
    const mounted = await scratch.mount(image, { at });
    await succeed(['restic', 'backup', '--no-cache', at], { env });
    await mounted.unmount();
  }
  const out = scratch.directory('restored');
  await succeed(['restic', 'restore', '--no-cache', 'latest', '--target', out], { env });
  expect(readFileSync(join(out, at, 'inline'), 'utf8')).toBe('version=2\n');
  expect(readFileSync(join(out, at, 'object'))).toEqual(readFileSync(join(source, 'object')));
});

test('packing a mount again reads the changed files', async () => {
  const at = scratch.directory('mnt');
  const store = scratch.at('second-store');
  const copy = scratch.at('copy.cfs');
  for (const image of images) {
    const mounted = await scratch.mount(image, { at });
    await scratch.pack(at, { store, image: copy });
    await mounted.unmount();
  }
  const mounted = await scratch.mount(copy, { repos: [store] });
  expect(readFileSync(mounted.at('object'))).toEqual(readFileSync(join(source, 'object')));
});
