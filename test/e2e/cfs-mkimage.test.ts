/** cfs-mkimage without errors: the same tree yields the same image, and a mount of it equals the tree. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { toHex } from '../../src/base/bytes.ts';
import { blake3 } from '../../src/base/digest.ts';
import { CHECKSUM_SIZE } from '../../src/image/image-parts.ts';
import { setTime, setXattr } from '../support/libc.ts';
import { generateTree } from '../support/tree-generator.ts';
import { expectWhole, messageOf, mkimage, mountTmpfs, objectsIn, outputOf, packed } from './cli.ts';
import { type Packed, useScratch } from './harness.ts';
import { HERE, run, succeed } from './run.ts';

const scratch = useScratch();
const odd = scratch.at('odd');
const small = scratch.at('small');
let oddId: string;
let serial = 0;

const newImage = (): string => scratch.at(`image${serial++}.cfs`);

/** Packs into an image of its own. */
const pack = (source: string, ...options: readonly string[]): Promise<Packed> =>
  packed(scratch, [...options, source, newImage()]);

const idOf = async (source: string, ...options: readonly string[]): Promise<string> =>
  (await pack(source, ...options)).id;

const TIME = 1_600_000_000;
const CONTENT = 'a file that needs an object of its own, having more than 64 bytes\n';

/** A tree for a test to change, with fixed times. */
function writeSmallTree(root: string): string {
  mkdirSync(`${root}/directory`, { recursive: true });
  writeFileSync(`${root}/file`, CONTENT);
  writeFileSync(`${root}/directory/short`, 'short\n');
  for (const path of ['file', 'directory/short', 'directory', '']) setTime(`${root}/${path}`, TIME, 7);
  return root;
}

beforeAll(async () => {
  expect(generateTree(odd, { seed: 1, files: 400, directories: 40, oddities: true, deep: 50 }).skipped).toEqual([]);
  writeSmallTree(small);
  oddId = await idOf(odd);
});

describe('the same tree makes the same image', () => {
  test('again, without more space', async () => {
    expect(await pack(odd)).toMatchObject({ id: oddId, newObjects: 0, newBytes: 0 });
  });

  test.each([1, 2, 7])('with %i threads and an empty store', async (threads) => {
    const store = scratch.at(`store-${threads}`);
    expect(await idOf(odd, '--store', store, '--threads', `${threads}`)).toBe(oddId);
    expectWhole(store);
  });

  test('from a copy on another file system, which lists names in another order', async () => {
    const other = await mountTmpfs(scratch.at('tmpfs'));
    await succeed(['cp', '-a', odd, `${other}/copy`]);
    const namesIn = (root: string): string => execFileSync('ls', ['-U', `${root}/odd/names`], { encoding: 'latin1' });
    expect(namesIn(`${other}/copy`)).not.toBe(namesIn(odd));
    expect(await idOf(`${other}/copy`)).toBe(oddId);
  });

  test('without fsync, and hashed by the portable BLAKE3', async () => {
    const env = { ...scratch.environment, CFS_BLAKE3: 'portable' };
    const command = HERE.tool('cfs-mkimage', ['--print-id', '--no-fsync', odd, newImage()], env);
    expect(await succeed(command)).toBe(`${oddId}\n`);
  });

  test('for any path of the source, also a symbolic link', async () => {
    symlinkSync('small', scratch.at('link'));
    const id = await idOf(small);
    for (const name of [`${small}/`, `${small}/.`, `${small}/directory/..`, scratch.at('link'), scratch.at('link/')]) {
      expect(await idOf(name)).toBe(id);
    }
    const { stdout } = await run(HERE.tool('cfs-mkimage', ['--print-id', '.', newImage()], scratch.environment), {
      cwd: small,
    });
    expect(stdout).toBe(`${id}\n`);
  });

  test('whether files around 1 MiB are packed by reflink, copied, or in memory', async () => {
    const { objects } = await pack(odd);
    expect(objects).toBeGreaterThan(100);
    expectWhole(scratch.store);
  });
});

describe('another tree makes another image', () => {
  test.each([
    ['a byte', (root: string) => writeFileSync(`${root}/file`, 'A', { flag: 'r+' })],
    ['a nanosecond', (root: string) => setTime(`${root}/file`, TIME, 8)],
    ['the time of the root', (root: string) => setTime(root, TIME + 1, 7)],
    ['an xattr', (root: string) => setXattr(`${root}/file`, 'user.x', Buffer.alloc(0))],
  ])('after a change of %s', async (_what, change) => {
    const root = writeSmallTree(scratch.directory('changed'));
    const id = await idOf(root);
    expect(id).toBe(await idOf(small));
    change(root);
    if (_what === 'a byte') setTime(`${root}/file`, TIME, 7);
    expect(await idOf(root)).not.toBe(id);
  });
});

describe('output', () => {
  test('--print-id prints only the BLAKE3 of the manifest', async () => {
    const image = newImage();
    const { stdout, stderr, status } = await mkimage(scratch, ['--print-id', small, image]);
    expect({ stdout, stderr, status }).toEqual({
      stdout: `${toHex(blake3(readFileSync(image).subarray(0, -CHECKSUM_SIZE)))}\n`,
      stderr: '',
      status: 0,
    });
  });

  test('--quiet prints nothing', async () => {
    const { stdout, stderr, status } = await mkimage(scratch, ['--quiet', small, newImage()]);
    expect({ stdout, stderr, status }).toEqual({ stdout: '', stderr: '', status: 0 });
  });

  test('--json prints one object with the result', async () => {
    const image = newImage();
    const store = scratch.at('store-json');
    writeFileSync(scratch.at('json-image'), '');
    const result = await packed(scratch, ['--store', store, small, image]);
    expect(result).toEqual({
      image,
      id: toHex(blake3(readFileSync(image).subarray(0, -CHECKSUM_SIZE))),
      imageBytes: statSync(image).size,
      hash: 'blake3',
      entries: 4,
      inodes: 4,
      files: 2,
      bytes: CONTENT.length + 6,
      objects: 1,
      objectBytes: CONTENT.length,
      newObjects: 1,
      newBytes: CONTENT.length,
      sharedBytes: 0,
      inlineFiles: 1,
      unchangedFiles: 0,
      registered: true,
      seconds: expect.any(Number),
    });
    const again = await packed(scratch, ['--store', store, small, image]);
    expect(again).toMatchObject({ id: result.id, newObjects: 0, newBytes: 0, sharedBytes: CONTENT.length });
  });

  test('without any of them is a summary for people; no progress if stderr is not a terminal', async () => {
    const image = newImage();
    const { stdout, stderr } = await mkimage(scratch, [small, image]);
    expect(stderr).toBe('');
    const lines = stdout.trimEnd().split('\n');
    expect(lines.map((line) => line.split(' ')[0])).toEqual(['image', 'id', 'tree', 'objects', 'shared', 'time']);
    expect(lines[0]).toContain(image);
    expect(lines[1]).toContain(toHex(blake3(readFileSync(image).subarray(0, -CHECKSUM_SIZE))));
    expect(lines[2]).toContain('4 entries, 2 files, 72 B');
  });

  test('a relative image path is relative to the working directory, and absolute in --json', async () => {
    const cwd = scratch.directory('cwd');
    const command = HERE.tool('cfs-mkimage', ['--json', small, 'here.cfs'], scratch.environment);
    const { stdout } = await run(command, { cwd });
    expect((JSON.parse(stdout) as Packed).image).toBe(`${cwd}/here.cfs`);
    expect(existsSync(`${cwd}/here.cfs`)).toBe(true);
  });

  test('replaces an image as a whole: a reader that has the old one open keeps it', async () => {
    const image = newImage();
    await packed(scratch, [odd, image]);
    const old = statSync(image);
    await packed(scratch, [small, image]);
    const now = statSync(image);
    expect(now.ino).not.toBe(old.ino);
    expect(now.size).toBeLessThan(old.size);
    expect(now.mode & 0o777).toBe(0o644 & ~process.umask());
  });

  test('may be in the source, and is not part of itself', async () => {
    const root = writeSmallTree(scratch.directory('with-image'));
    const { id, entries } = await packed(scratch, [root, `${root}/image.cfs`]);
    expect({ id, entries }).toEqual({ id: await idOf(small), entries: 4 });
    expect((await packed(scratch, [root, newImage()])).entries).toBe(5);
  });

  test('is left out of the source if it is replaced, with a line on stderr', async () => {
    const root = writeSmallTree(scratch.directory('with-image'));
    const image = `${root}/directory/image.cfs`;
    await packed(scratch, [root, image]);
    const again = await mkimage(scratch, ['--json', root, image]);
    expect(again).toMatchObject({ status: 0, stderr: `cfs-mkimage: ${image} is the image: left out\n` });
    expect((JSON.parse(again.stdout) as Packed).entries).toBe(4);
  });
});

describe('names and links', () => {
  const json = async (...args: readonly string[]): Promise<Record<string, unknown>[]> =>
    JSON.parse(await succeed(HERE.tool('cfs-info', args))) as Record<string, unknown>[];

  test('hard links are one inode with all its links', async () => {
    const { image } = await pack(odd);
    const paths = ['/odd/links/b/first', '/odd/links/a/second', '/odd/links/third'];
    const inodes = await json('stat', '--json', image, ...paths);
    expect(new Set(inodes.map(({ id }) => id)).size).toBe(1);
    expect(inodes.map(({ nlink }) => nlink)).toEqual([3, 3, 3]);
  });

  test('names are bytes: all names of the source are in the image, in bytewise order', async () => {
    const { image } = await pack(odd);
    const sorted = execFileSync('sh', ['-c', 'ls -A --zero -U "$0" | LC_ALL=C sort -z', `${odd}/odd/names`]);
    const expected = sorted.toString('latin1').split('\0').slice(0, -1);
    const paths = (await json('ls', '--json', image, '/odd/names')).map(({ path, pathBase64 }) =>
      (pathBase64 === undefined ? Buffer.from(String(path)) : Buffer.from(String(pathBase64), 'base64')).toString(
        'latin1',
      ),
    );
    expect(paths).toEqual(expected.map((name) => `/odd/names/${name}`));
  });
});

describe('sparse files', () => {
  test('stay sparse in the store, and 5 GiB of zeros take no time', async () => {
    const root = scratch.directory('sparse');
    generateTree(root, { seed: 2, sparse: 5 * 2 ** 30 });
    const store = scratch.at('store-sparse');
    await pack(root, '--store', store);
    const object = objectsIn(store)
      .map((name) => statSync(`${store}/objects/${name}`))
      .find(({ size }) => size === 5 * 2 ** 30);
    expect(object?.blocks).toBeLessThan(1000);
  });
});

describe('names of objects', () => {
  test('by fsverity-sha256 match the fsverity tool', async () => {
    const root = scratch.directory('verity');
    const sizes = [1, 4095, 4096, 4097, 128 * 4096 - 1, 128 * 4096, 128 * 4096 + 1, 128 * 128 * 4096 + 1];
    for (const size of sizes) writeFileSync(`${root}/${size}`, Buffer.alloc(size, `${size} `));
    const store = scratch.at('store-verity');
    const options = ['--store', store, '--hash', 'fsverity-sha256', '--inline-max', '0'];
    expect(await pack(root, ...options)).toMatchObject({ hash: 'fsverity-sha256', objects: sizes.length });
    const names = objectsIn(store).map((name) => name.replace('/', ''));
    for (const size of sizes) {
      expect(names).toContain(await outputOf('fsverity', 'digest', '--compact', `${root}/${size}`));
    }
    expectWhole(store);
  });

  test('a store keeps its hash: the next image needs no --hash, and another one is refused', async () => {
    const store = scratch.at('store-kind');
    expect((await pack(small, '--store', store, '--hash', 'fsverity-sha256')).hash).toBe('fsverity-sha256');
    expect((await pack(small, '--store', store)).hash).toBe('fsverity-sha256');
    expect((await pack(small, '--store', `${store}/objects`)).hash).toBe('fsverity-sha256');
    const refused = await mkimage(scratch, ['--store', store, '--hash', 'blake3', small, newImage()]);
    expect(messageOf(refused, 5)).toContain('it names objects by fsverity-sha256, the image by blake3');
  });
});
