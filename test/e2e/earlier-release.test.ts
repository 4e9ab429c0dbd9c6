/**
 * What release 0.1.0 wrote works with this version: test/golden/release-0.1.0.tar.gz has a source and an image of it,
 * signed and registered; an image that is not registered; their store, with the leases of both kinds; and a list of
 * `cfs-info sources --json`. Its commit 1459848 made all of them, in /srv/cfs-0.1.0. inodes.txt has inode numbers and
 * handles as its mount showed them. For the mount that such a release left, see service-manager.test.ts.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { programPath } from '../../src/base/installation.ts';
import { tryLock } from '../../src/system/flock.ts';
import { expectEqual, type Mounted, type MountReport, useScratch } from './harness.ts';
import { HERE, OWN_TOOLS, succeed } from './run.ts';

const scratch = useScratch();
const ARCHIVE = join(import.meta.dirname, '../golden/release-0.1.0.tar.gz');
/** Where it was made. */
const THEN = '/srv/cfs-0.1.0';
const SIGNED = '69ae1e9cbdfb0a891edb54cf4da82eb53c9ae4cc28bca5a3926b1411b488318a';
const UNREGISTERED = '2912e0fdc2602c3c2725b3a661c9924ed6bb606db6e38b4e89c29acfc510f395';
/** The lease of a mount, which counts while it is locked. */
const LEASE = `${UNREGISTERED}-44af4e78b68226ae`;

let root: string;
let store: string;
let image: string;

beforeAll(async () => {
  const attributes = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--acls', '--same-owner'];
  await succeed(['tar', '-C', scratch.path, ...attributes, '-xpzf', ARCHIVE]);
  root = scratch.at('cfs-0.1.0');
  store = join(root, 'store');
  image = join(root, 'signed.cfs');
});

const tool = async (name: string, ...args: readonly string[]): Promise<string> =>
  await succeed(HERE.tool(name, args, scratch.environment));

interface Inode {
  readonly ino: number;
  readonly handle: string;
  readonly path: string;
}

const inodes = (): Inode[] =>
  readFileSync(join(root, 'inodes.txt'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const [ino, handle, path] = line.split('\t') as [string, string, string];
      return { ino: Number(ino), handle, path };
    });

async function expectTheTree(mounted: Mounted): Promise<void> {
  const { entries } = await expectEqual(join(root, 'source'), mounted.path);
  expect(entries).toBe(15);
}

describe('an image and a store of release 0.1.0', () => {
  test.each(['open', 'read'])('are mounted with verify=%s, and show the same tree', async (verify) => {
    await expectTheTree(await scratch.mount(image, { repos: [store], words: [`verify=${verify}`] }));
  });

  test('show the same inode numbers and handles', async () => {
    const mounted = await scratch.mount(image, { repos: [store] });
    const expected = inodes();
    expect(expected).toHaveLength(14);
    const files = expected.map(({ path }) => mounted.at(path));
    const numbers = await succeed(['stat', '-c', '%i', ...files]);
    expect(numbers.trim().split('\n').map(Number)).toEqual(expected.map(({ ino }) => ino));
    const handles = JSON.parse(await tool('cfs-info', 'handle', '--json', ...files)) as { readonly handle: string }[];
    expect(handles.map(({ handle }) => handle)).toEqual(expected.map(({ handle }) => handle));
    for (const { ino, handle, path } of expected.slice(-3)) {
      expect(await tool('cfs-info', 'open-handle', mounted.path, handle), path).toContain(String(ino));
    }
  });

  test('has a signature that is valid', async () => {
    const mounted = await scratch.mount(image, { repos: [store], words: [`key=${join(root, 'key.pub')}`] });
    expect(mounted.report.signature).toMatchObject({ algorithm: 'EdDSA' });
    expect(await tool('cfs-info', 'id', image)).toContain(SIGNED);
  });

  test('are not damaged, and the same tree is packed into the same image, with no new object', async () => {
    expect(JSON.parse(await tool('cfs-repo', 'fsck', '--json', store))).toMatchObject({ objects: 5, damaged: [] });
    const again = scratch.at('again.cfs');
    const args = ['--json', '--store', store, '--no-register', join(root, 'source'), again];
    expect(JSON.parse(await tool('cfs-mkimage', ...args))).toMatchObject({ id: SIGNED, newObjects: 0 });
  });
});

describe('a keep list and a lease of release 0.1.0', () => {
  const gc = async (...args: readonly string[]): Promise<unknown> =>
    JSON.parse(await tool('cfs-repo', 'gc', '--json', '--dry-run', '--min-age', '0', ...args, store));

  test('name the image that keeps its objects, and its path', async () => {
    const [first, ...others] = JSON.parse(await tool('cfs-repo', 'images', '--json', store)) as unknown[];
    expect(first).toMatchObject({ id: SIGNED, objects: 3, paths: [{ path: `${THEN}/signed.cfs` }] });
    expect(others).toEqual([]);
  });

  test('keep the objects of a mount as long as it has its lease locked', async () => {
    const fd = openSync(join(store, 'leases', LEASE), 'r');
    try {
      expect(tryLock(fd, 'shnb')).toBe(true);
      expect(await gc()).toMatchObject({ registered: 1, mounted: 1, freed: { objects: 0 } });
    } finally {
      closeSync(fd);
    }
    expect(await gc()).toMatchObject({ registered: 1, mounted: 0, freed: { objects: 2 } });
  });
});

test('a source list of release 0.1.0 is mounted, after its files were copied to another place', async () => {
  const mnt = join(root, 'mnt');
  mkdirSync(mnt);
  const list = scratch.at('sources.json');
  writeFileSync(list, readFileSync(join(root, 'sources.json'), 'utf8').replaceAll(THEN, root));
  const report = JSON.parse(await tool('cfs-mount', '--json', '--from', list)) as MountReport;
  const mounted = scratch.adopt(report);
  expect(mounted.path).toBe(mnt);
  await expectTheTree(mounted);
});

test('the program that a supervisor of release 0.1.0 starts next is there, and is the server', () => {
  const former = join(OWN_TOOLS.dist, 'src/mount/daemon-main.js');
  const [, server] = /^import '(.*)';\n$/.exec(readFileSync(former, 'utf8')) as RegExpExecArray;
  const started = join(former, '..', server as string);
  expect(existsSync(started)).toBe(true);
  expect(statSync(started).ino).toBe(statSync(programPath('cfs-serve.js')).ino);
});
