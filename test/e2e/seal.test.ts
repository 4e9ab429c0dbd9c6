/**
 * Sealing, and mounting images whose objects fs-verity could verify, on file systems without fs-verity.
 * test/vm/fsverity.test.ts has one with it.
 */
import { cpSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { expectUnlocked, expectWhole, messageOf, mkimage, mountLoop, mountTmpfs, objectsIn } from './cli.ts';
import { type Packed, useScratch } from './harness.ts';
import { type Outcome, run, succeed } from './run.ts';

const scratch = useScratch();
const FILES = 3;
let source: string;
let image: Packed;

const repo = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-repo', args);

beforeAll(async () => {
  source = scratch.directory('source');
  for (let i = 0; i < FILES; i++) writeFileSync(join(source, `file-${i}`), `content ${i} `.repeat(100 + 1000 * i));
  image = await scratch.pack(source, { args: ['--hash', 'fsverity-sha256'] });
});

/** A copy of the store on a file system without fs-verity. */
const PLACES: readonly (readonly [string, () => Promise<string>, string])[] = [
  ['tmpfs', () => mountTmpfs(scratch.at('tmpfs')), 'this kind of file system has no fs-verity'],
  ['ext4 without the feature', () => mountLoop(scratch.at('ext4'), 'ext4', 32), "ext4: 'tune2fs -O verity DEVICE'"],
];

describe.each(PLACES)('on %s', (_name, make, reason) => {
  let place: string;
  let store: string;

  beforeAll(async () => {
    place = await make();
    store = join(place, 'store');
    cpSync(scratch.store, store, { recursive: true });
  });

  test('cfs-repo seal reports that it cannot, why, and how many', async () => {
    const { status, stdout, stderr } = await repo('seal', store);
    expect({ status, stderr }).toEqual({ status: EXIT.system, stderr: '' });
    expect(stdout).toMatch(/^sealed {3}0 objects, 0 B \(.*\)\nbefore {3}0\n\nproblem +objects +why\nunsupported +3 /);
    expect(stdout).toContain(reason);
    expectWhole(store);
    expectUnlocked(store);
  });

  test('cfs-repo seal --json reports the same', async () => {
    const { status, stdout } = await repo('seal', '--json', store);
    expect(status).toBe(EXIT.system);
    expect(JSON.parse(stdout)).toEqual({
      path: store,
      uuid: expect.any(String),
      hash: 'fsverity-sha256',
      sealed: 0,
      sealedBytes: 0,
      treeBytes: 0,
      already: 0,
      problems: [
        {
          outcome: 'unsupported',
          reason: expect.stringContaining(reason),
          objects: [expect.any(String)],
          count: FILES,
        },
      ],
      images: [],
      seconds: expect.any(Number),
    });
  });

  test('cfs-repo seal --image leaves the image unchanged', async () => {
    const path = join(place, 'image.cfs');
    cpSync(image.image, path);
    const { status, stdout } = await repo('seal', '--image', path);
    expect(status).toBe(EXIT.system);
    expect(stdout).toContain(`${path}: not sealed: `);
    writeFileSync(path, 'still mine');
  });

  test('cfs-mkimage --seal reports it before it packs', async () => {
    const path = scratch.at(`unsealed-${place.length}.cfs`);
    const outcome = await mkimage(scratch, ['--seal', '--store', store, source, path]);
    expect(messageOf(outcome, EXIT.system)).toContain(`Cannot seal files in ${store}/objects: `);
    expect(existsSync(path)).toBe(false);
  });

  test('verify=auto hashes', async () => {
    const mounted = await scratch.mount(image.image, { repos: [store] });
    expect(mounted.report.verify).toBe('auto');
    for (const name of readdirSync(source)) {
      expect(readFileSync(mounted.at(name)).equals(readFileSync(join(source, name)))).toBe(true);
    }
    const where = JSON.parse(await output('cfs-info', 'where', '--json', mounted.at('file-2'))) as object[];
    expect(where).toMatchObject([{ verified: 'yes', hash: 'fsverity-sha256' }]);
  });

  test('verify=fsverity is refused when it is mounted', async () => {
    const outcome = await scratch.tryMount(image.image, { repos: [store], words: ['verify=fsverity'] });
    expect(outcome.status).toBe(EXIT.mount);
    expect(outcome.stderr).toContain(
      `with verify=fsverity: ${store}: the file system has no fs-verity. Take verify=auto`,
    );
  });
});

const output = async (tool: string, ...args: readonly string[]): Promise<string> => {
  const { status, stdout, stderr } = await scratch.tool(tool, args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout.trim();
};

test('verify=fsverity is refused for an image that names its objects by BLAKE3', async () => {
  const store = scratch.at('blake3');
  const { image: path } = await scratch.pack(source, { store });
  const { status, stderr } = await scratch.tryMount(path, { repos: [store], words: ['verify=fsverity'] });
  expect(status).toBe(EXIT.mount);
  expect(stderr).toContain(`Cannot mount ${path} with verify=fsverity: it names its objects by blake3`);
  expect(stderr).toContain('--hash fsverity-sha256');
});

test('verify=fsverity mounts an image that needs no objects', async () => {
  const small = scratch.directory('small');
  writeFileSync(join(small, 'inline'), 'in the image');
  const { image: path } = await scratch.pack(small, { store: scratch.at('small-store') });
  const mounted = await scratch.mount(path, { repos: [], words: ['verify=fsverity'] });
  expect(readFileSync(mounted.at('inline'), 'utf8')).toBe('in the image');
});

describe('an fs-verity digest', () => {
  test('names each object, as composefs does: objects/<2 digits>/<62 digits>', async () => {
    const names = objectsIn(scratch.store);
    expect(names).toHaveLength(FILES);
    for (const name of names) {
      expect(name).toMatch(/^[0-9a-f]{2}\/[0-9a-f]{62}$/);
      const path = join(scratch.store, 'objects', name);
      expect((await succeed(['fsverity', 'digest', '--compact', path])).trim()).toBe(name.replace('/', ''));
    }
  });

  test('of an image is shown by cfs-info, as by fsverity(1)', async () => {
    const digest = (await succeed(['fsverity', 'digest', '--compact', image.image])).trim();
    expect(await output('cfs-info', 'id', '--fsverity', image.image)).toBe(`fsverity-sha256:${digest}`);
    expect(JSON.parse(await output('cfs-info', 'id', '--fsverity', '--json', image.image))).toEqual([
      { image: image.image, id: image.id, fsverity: `fsverity-sha256:${digest}` },
    ]);
  });

  test('is accepted by -o digest=, and computed if the image is not sealed', async () => {
    const digest = await output('cfs-info', 'id', '--fsverity', image.image);
    const mounted = await scratch.mount(image.image, { words: [`digest=${digest}`] });
    expect(mounted.report.id).toBe(image.id);
    const other = digest.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'));
    const { status, stderr } = await scratch.tryMount(image.image, { words: [`digest=${other}`] });
    expect(status).toBe(EXIT.mount);
    expect(stderr).toContain(`its fs-verity digest is ${digest.replace('fsverity-sha256:', '')}, not `);
  });
});

describe('cfs-repo seal', () => {
  test.each([
    ['nothing', [], 'DIR, or --image IMAGE, or both are required'],
    ['an empty DIR', [''], 'DIR is empty'],
  ])('with %s reports the error', async (_what, args, message) => {
    expect(messageOf(await repo('seal', ...args), EXIT.usage, 'cfs-repo')).toContain(message);
  });

  test('does not change a file that is not an image', async () => {
    const path = scratch.at('thesis.tex');
    writeFileSync(path, 'words');
    const before = statSync(path, { bigint: true }).ctimeNs;
    expect(messageOf(await repo('seal', '--image', path), EXIT.image, 'cfs-repo')).toContain(path);
    expect(statSync(path, { bigint: true }).ctimeNs).toBe(before);
  });

  test('names a repository that the user may not write to', async () => {
    const outcome = await run(scratch.nobody().tool('cfs-repo', ['seal', scratch.store]));
    expect(messageOf(outcome, EXIT.store, 'cfs-repo')).toContain(
      `repository ${scratch.store}: lock: permission denied`,
    );
  });
});
