/** `cfs-info extract`: trees out of images, without a mount. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { Random } from '../support/random.ts';
import { generateTree, removeTree } from '../support/tree-generator.ts';
import { compare, expectEqual, useScratch } from './harness.ts';
import { HERE, type Outcome, run, succeed } from './run.ts';
import { unmountBy } from './system.ts';

const scratch = useScratch();
let odd: string;
let oddImage: string;
let plain: string;
let plainImage: string;

beforeAll(async () => {
  odd = scratch.directory('odd');
  expect(generateTree(odd, { seed: 14, files: 400, directories: 30, oddities: true, deep: 2100 }).skipped).toEqual([]);
  ({ image: oddImage } = await scratch.pack(odd));
  plain = scratch.directory('plain');
  mkdirSync(join(plain, 'd/e'), { recursive: true });
  writeFileSync(join(plain, 'd/file'), new Random(1).bytes(200_000));
  writeFileSync(join(plain, 'd/e/small'), 'small\n');
  linkSync(join(plain, 'd/file'), join(plain, 'other'));
  symlinkSync('d/file', join(plain, 'link'));
  chmodSync(join(plain, 'd'), 0o710);
  ({ image: plainImage } = await scratch.pack(plain));
});

const extract = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-info', ['extract', ...args]);
const QUIET = { status: EXIT.ok, stdout: '', stderr: '' };

test('the tree is as the packed one, also over an earlier copy, with any number of threads', async () => {
  const target = scratch.at('whole');
  expect(await extract('--threads', '1', '-C', target, oddImage)).toMatchObject(QUIET);
  await expectEqual(odd, target);
  // every file is replaced
  expect(await extract('--threads', '2', '-C', target, oddImage)).toMatchObject(QUIET);
  await expectEqual(odd, target);
  removeTree(target);
});

test('holes stay holes', async () => {
  const target = scratch.at('holes');
  await extract('-C', target, oddImage, '/odd/sparse');
  const blocks = (name: string): number => statSync(join(target, 'odd/sparse', name)).blocks;
  expect(blocks('only-hole')).toBeLessThan(150);
  expect(blocks('zeros')).toBeLessThan(150);
  expect(blocks('hole-first')).toBeLessThan(150);
});

test('parts of an image get the directories above them, with their attributes', async () => {
  const target = scratch.at('part');
  expect(await extract('-C', target, plainImage, '/d/e', 'link')).toMatchObject(QUIET);
  expect(readdirSync(target).sort()).toEqual(['d', 'link']);
  expect(readdirSync(join(target, 'd'))).toEqual(['e']);
  expect(statSync(join(target, 'd')).mode & 0o7777).toBe(0o710);
  expect(statSync(join(target, 'd')).mtimeMs).toBe(statSync(join(plain, 'd')).mtimeMs);
  // two names of one file, each in another part
  expect(await extract('-C', target, plainImage, 'd/file', '/other')).toMatchObject(QUIET);
  expect(statSync(join(target, 'other')).ino).toBe(statSync(join(target, 'd/file')).ino);
});

test('an existing directory keeps its attributes if it is DIR itself or only leads to a path', async () => {
  const target = scratch.directory('kept');
  chmodSync(target, 0o701);
  mkdirSync(join(target, 'd'), 0o755);
  expect(await extract('-C', target, plainImage, '/d/e/small')).toMatchObject(QUIET);
  expect(statSync(target).mode & 0o777).toBe(0o701);
  expect(statSync(join(target, 'd')).mode & 0o777).toBe(0o755);
  expect(await extract('-C', target, plainImage)).toMatchObject(QUIET);
  expect(statSync(target).mode & 0o777).toBe(0o701);
  expect(statSync(join(target, 'd')).mode & 0o777).toBe(0o710);
});

test('links that are planted in the target are replaced, and never followed', async () => {
  const target = scratch.directory('planted');
  const outside = scratch.directory('outside');
  writeFileSync(join(outside, 'small'), 'precious');
  symlinkSync(outside, join(target, 'd'));
  symlinkSync(join(outside, 'small'), join(target, 'other'));
  symlinkSync(outside, join(target, 'link'));
  expect(await extract('-C', target, plainImage)).toMatchObject(QUIET);
  expect(readdirSync(outside)).toEqual(['small']);
  expect(readFileSync(join(outside, 'small'), 'utf8')).toBe('precious');
  expect((await compare(plain, target, { ignore: ['mtime', 'mode'] })).differences).toEqual([]);
  expect(lstatSync(join(target, 'd')).isDirectory()).toBe(true);
  expect(readlinkSync(join(target, 'link'))).toBe('d/file');

  // a hard link to a file outside: that file is not written to
  const linked = scratch.directory('linked');
  mkdirSync(join(linked, 'd/e'), { recursive: true });
  linkSync(join(outside, 'small'), join(linked, 'd/e/small'));
  expect(await extract('-C', linked, plainImage, 'd/e/small')).toMatchObject(QUIET);
  expect(readFileSync(join(outside, 'small'), 'utf8')).toBe('precious');
});

test('a directory that is not empty is not replaced by a file, and the other files are extracted', async () => {
  const target = scratch.directory('occupied');
  mkdirSync(join(target, 'd/e/small/full'), { recursive: true });
  mkdirSync(join(target, 'link'));
  const { status, stderr } = await extract('-C', target, plainImage);
  expect({ status, stderr }).toEqual({
    status: EXIT.system,
    stderr: 'cfs-info: Cannot extract /d/e/small: directory not empty\n',
  });
  expect(readFileSync(join(target, 'other')).equals(readFileSync(join(plain, 'other')))).toBe(true);
  expect(readlinkSync(join(target, 'link'))).toBe('d/file');
});

test('a file without a good copy is reported, with the first name of its other names', async () => {
  const store = scratch.at('bad-store');
  const { image } = await scratch.pack(plain, { store });
  const objects = readdirSync(join(store, 'objects'), { recursive: true, encoding: 'utf8' });
  const object = objects.find((name) => name.length === 65) as string;
  chmodSync(join(store, 'objects', object), 0o644);
  truncateSync(join(store, 'objects', object), 1000);
  const target = scratch.at('bad');
  const { status, stdout, stderr } = await extract('--json', '--repo', store, '-C', target, image);
  expect(status).toBe(EXIT.store);
  expect(stderr).toContain('it is truncated: 1000 bytes instead of 200000: EIO');
  expect(stderr).toContain('Cannot extract /d/file: it is another name of /other');
  const { problems, entries } = JSON.parse(stdout) as { problems: { path: string; kind: string }[]; entries: number };
  expect(problems.map(({ path, kind }) => [path, kind])).toEqual([
    ['/other', 'store'],
    ['/d/file', 'system'],
  ]);
  expect(entries).toBe(4);
  expect(existsSync(join(target, 'd/file'))).toBe(false);
  expect(readFileSync(join(target, 'd/e/small'), 'utf8')).toBe('small\n');

  removeTree(target);
  const good = await extract('--repo', store, '--repo', scratch.store, '-C', target, image);
  expect(good.status).toBe(EXIT.ok);
  await expectEqual(plain, target);
});

test('an ordinary user gets everything that it may set, and no set-id bits of others', async () => {
  const user = scratch.nobody();
  const home = scratch.directory('home');
  chmodSync(home, 0o777);
  chmodSync(oddImage, 0o644);
  const at = join(home, 'copy');
  const { status, stderr } = await scratch.tool('cfs-info', ['extract', '-C', at, oddImage], user);
  expect(stderr).toMatch(
    /^cfs-info: left out, because only root can set them: the owners of [\d,]+ files, 4 extended attributes, 3 devices\n$/,
  );
  expect(status).toBe(EXIT.ok);
  const { differences, differenceCount } = await compare(odd, at, { ignore: ['uid', 'gid', 'mode', 'nlink'] });
  const missing = differences.filter(({ field }) => field !== 'xattrs').map(({ path }) => path);
  expect(missing.sort()).toEqual(['/odd/types/disk', '/odd/types/large-minor', '/odd/types/null']);
  expect(differenceCount).toBe(7);
  expect(statSync(join(at, 'odd/modes/file-4755')).mode & 0o7777).toBe(0o755);
  expect(statSync(join(at, 'odd/modes/file-0444')).mode & 0o7777).toBe(0o444);
});

test('an inherited ACL or group of the target is not left on the files', async () => {
  const target = scratch.directory('acl');
  execFileSync('setfacl', ['-d', '-m', 'u:1234:rwx', target]);
  execFileSync('chown', [':1234', target]);
  chmodSync(target, 0o2755);
  expect(await extract('-C', join(target, 'copy'), oddImage)).toMatchObject(QUIET);
  await expectEqual(odd, join(target, 'copy'));
});

test('--no-same-owner and --skip-xattrs leave these out', async () => {
  const target = scratch.at('own');
  expect(await extract('--no-same-owner', '--skip-xattrs', '-C', target, oddImage)).toMatchObject(QUIET);
  const { differences } = await compare(odd, target, { ignore: ['uid', 'gid', 'xattrs'] });
  expect(differences.filter(({ field }) => field !== 'mode')).toEqual([]);
  expect(statSync(join(target, 'odd/owners/file-1000-1000')).uid).toBe(0);
});

/** A file system of its own in a file, until the test ends. */
async function withFileSystem(type: string, size: string, work: (path: string) => Promise<void>): Promise<void> {
  const device = scratch.at(`${type}.img`);
  const path = scratch.directory(type);
  execFileSync('truncate', ['-s', size, device]);
  await succeed([`mkfs.${type}`, '-q', device]);
  await succeed(['mount', '-o', 'loop', device, path]);
  try {
    await work(path);
  } finally {
    await unmountBy(['umount', path]);
  }
}

test('shares blocks with the objects if the file system can', async () => {
  await withFileSystem('xfs', '300M', async (path) => {
    const store = join(path, 'store');
    const source = scratch.directory('big');
    writeFileSync(join(source, 'big'), new Random(2).bytes(40_000_000));
    const { image } = await scratch.pack(source, { store });
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) {
      expect(await extract('--repo', store, '-C', join(path, name), image)).toMatchObject(QUIET);
    }
    await expectEqual(source, join(path, 'h'));
    // a bad object is not shared either
    const object = (await succeed(['find', join(store, 'objects'), '-type', 'f'])).trim();
    chmodSync(object, 0o644);
    const bytes = readFileSync(object);
    bytes[39_000_000] = (bytes[39_000_000] as number) ^ 1;
    writeFileSync(object, bytes);
    const { status, stderr } = await extract('--repo', store, '-C', join(path, 'i'), image);
    expect(status).toBe(EXIT.store);
    expect(stderr).toContain('its content is corrupted: the block at ');
    expect(readdirSync(join(path, 'i'))).toEqual([]);
  });
});

test('a full file system stops it; files that are there are complete', async () => {
  const source = scratch.directory('many');
  const random = new Random(3);
  for (let i = 0; i < 600; i++) writeFileSync(join(source, `f${i}`), random.bytes(30_000));
  const { image } = await scratch.pack(source);
  await withFileSystem('ext4', '10M', async (path) => {
    const { status, stderr } = await extract('-C', join(path, 'copy'), image);
    expect(status).toBe(EXIT.system);
    expect(stderr).toContain('no space left on device');
    expect(stderr.split('\n').length).toBeLessThan(10);
    expectPart(source, join(path, 'copy'), 600);
  });
});

/** Expects some of the files, each of them complete. */
function expectPart(source: string, target: string, all: number): void {
  const names = readdirSync(target).filter((name) => !name.startsWith('.cfs-extract.'));
  expect(names.length).toBeLessThan(all);
  for (const name of names) {
    expect(readFileSync(join(target, name)).equals(readFileSync(join(source, name))), name).toBe(true);
  }
}

test.each([3, 40, 311])(
  'killed at change %i, it leaves no part of a file under its name, and can be repeated',
  async (at) => {
    const target = scratch.at(`killed-${at}`);
    const environment = { ...scratch.environment, CFS_FAIL_UPPER_AT: `main:${at}:kill` };
    const args = ['extract', '--threads', '1', '-C', target, oddImage, '/tree'];
    const { signal } = await run(HERE.tool('cfs-info', args, environment));
    expect(signal).toBe('SIGKILL');
    const { differences } = await compare(odd, target, {
      ignore: ['nlink', 'mode', 'mtime', 'mtimeNsec', 'uid', 'gid'],
    });
    const wrong = differences.filter(({ field, left }) => field !== 'names' || left === 'missing');
    expect(wrong.filter(({ path }) => !path.includes('/.cfs-extract.'))).toEqual([]);
    expect(await extract('-C', target, oddImage, '/tree')).toMatchObject(QUIET);
    await succeed(['find', target, '-name', '.cfs-extract.*', '-delete']);
    await expectEqual(join(odd, 'tree'), join(target, 'tree'));
  },
);

test('reports what cannot be done at all', async () => {
  const file = scratch.at('file');
  writeFileSync(file, '');
  expect(await extract('-C', file, plainImage)).toMatchObject({
    status: EXIT.system,
    stderr: `cfs-info: Cannot extract to ${file}: not a directory\n`,
  });
  expect(await extract('-C', scratch.at('no/such'), plainImage)).toMatchObject({ status: EXIT.system });
  expect(await extract('-C', scratch.at('never'), plainImage, '/none')).toMatchObject({
    status: EXIT.usage,
    stderr: `cfs-info: Cannot find /none in image ${plainImage}: / has no entry none\n`,
  });
  expect(existsSync(scratch.at('never'))).toBe(false);
  const some = await extract('-C', scratch.at('some'), plainImage, '/none', '/d');
  expect(some.status).toBe(EXIT.usage);
  expect(existsSync(scratch.at('some/d/e/small'))).toBe(true);
  renameSync(scratch.at('some'), scratch.at('moved'));
});
