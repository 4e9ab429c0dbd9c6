/** cfs-mkimage and stores that are read-only, full, damaged or not stores: a clear error, and nothing lost. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { generateTree } from '../support/tree-generator.ts';
import {
  expectImageKept,
  expectUnlocked,
  expectWhole,
  manyFiles,
  messageOf,
  mkimage,
  mountLoop,
  mountTmpfs,
  objectsIn,
  packed,
  start,
  temporariesIn,
} from './cli.ts';
import { useScratch } from './harness.ts';
import { HERE, NOBODY, run, succeed } from './run.ts';

const scratch = useScratch();
const source = scratch.at('source');
const image = scratch.at('image.cfs');
let id: string;

beforeAll(async () => {
  generateTree(source, { seed: 5, files: 300, directories: 10 });
  ({ id } = await packed(scratch, [source, image]));
});

/** A store with the objects of the source. */
async function filledStore(): Promise<string> {
  const store = scratch.directory('store');
  await packed(scratch, ['--no-fsync', '--store', store, source, scratch.at('filled.cfs')]);
  return store;
}

/** Packs into `store` over an existing image, which must stay; returns the message. */
async function refusal(store: string, status = 5, from = source): Promise<string> {
  const kept = `${scratch.directory('images')}/image.cfs`;
  writeFileSync(kept, 'the image before');
  const outcome = await run(HERE.tool('cfs-mkimage', ['--store', store, from, kept], scratch.environment), {
    timeoutMs: 30_000,
  });
  const message = messageOf(outcome, status);
  expectImageKept(kept, 'the image before');
  return message;
}

describe('an invalid store is reported:', () => {
  test('a directory with other files in it, which is unchanged', async () => {
    const directory = scratch.directory('precious');
    writeFileSync(`${directory}/thesis.tex`, '');
    expect(await refusal(directory)).toContain(
      `Cannot make a repository in ${directory}: the directory is not empty (it contains "thesis.tex")`,
    );
    expect(readdirSync(directory)).toEqual(['thesis.tex']);
  });

  test.each(['file', 'file/below'])('%s', async (name) => {
    const root = scratch.directory('no-store');
    writeFileSync(`${root}/file`, '');
    expect(await refusal(`${root}/${name}`)).toMatch(
      new RegExp(`repository (in )?${root}/${name}: .*(directory|file)`),
    );
  });

  test('one whose directory cannot be made, without trying forever', async () => {
    expect(await refusal('/proc/cfs')).toContain('/proc/cfs');
  });

  test.each([
    ['not JSON', 'nonsense', 'meta.json is not JSON'],
    ['empty', '', 'meta.json is not JSON'],
    ['of another program', '{"format":"ostree"}', 'meta.json is not one of cfs'],
    ['of a later version', '{"format":"cfs-repository","version":2}', 'format version 2; this program knows version 1'],
  ])('meta.json is %s, and is unchanged', async (_what, text, reason) => {
    const store = await filledStore();
    writeFileSync(`${store}/meta.json`, text);
    const message = await refusal(store);
    expect(message).toContain(store);
    expect(message).toContain(reason);
    expect(readFileSync(`${store}/meta.json`, 'utf8')).toBe(text);
  });

  test('meta.json is lost, and there are objects of an unknown hash', async () => {
    const store = await filledStore();
    unlinkSync(`${store}/meta.json`);
    const before = objectsIn(store);
    expect(await refusal(store)).toContain(`Cannot make a repository in ${store}`);
    expect(objectsIn(store)).toEqual(before);
  });
});

describe('a store that cannot be written', () => {
  test('because of permissions is reported, with the path in the way', async () => {
    const store = await filledStore();
    const nobody = scratch.nobody();
    const ask = (): Promise<string> =>
      run(nobody.tool('cfs-mkimage', ['--store', store, source, `${scratch.temporary}/never.cfs`])).then((o) =>
        messageOf(o, 5),
      );
    chmodSync(store, 0o755);
    expect(await ask()).toBe(`Cannot write to repository ${store}: lock: permission denied`);
    chmodSync(`${store}/meta.json`, 0o600);
    expect(await ask()).toBe(`Cannot open repository ${store}: meta.json: permission denied`);
    chmodSync(store, 0o700);
    expect(await ask()).toContain(`${store}: `);
  });

  test('because it is mounted read-only is reported', async () => {
    const mounted = await mountTmpfs(scratch.at('read-only'));
    await packed(scratch, ['--store', `${mounted}/store`, source, image]);
    await succeed(['mount', '-o', 'remount,ro', mounted]);
    expect(await refusal(`${mounted}/store`)).toBe(
      `Cannot write to repository ${mounted}/store: lock: read-only file system`,
    );
    expect(await refusal(`${mounted}/new-store`)).toBe(
      `Cannot make a repository in ${mounted}/new-store: read-only file system`,
    );
  });

  test('because a directory of it is immutable is reported', async () => {
    const store = scratch.directory('immutable');
    await succeed(HERE.tool('cfs-repo', ['init', store]));
    await succeed(['chattr', '+i', `${store}/tmp`]);
    try {
      expect(await refusal(store)).toContain(`Cannot write to repository ${store}: operation not permitted`);
    } finally {
      await succeed(['chattr', '-i', `${store}/tmp`]);
    }
    expectUnlocked(store);
    expect((await packed(scratch, ['--store', store, source, image])).id).toBe(id);
  });

  test('because directories of it are missing is reported, with their names', async () => {
    const store = await filledStore();
    rmSync(`${store}/tmp`, { recursive: true });
    expect(await refusal(store)).toContain(`${store}/tmp: no such file or directory`);
    mkdirSync(`${store}/tmp`);
    rmSync(`${store}/objects`, { recursive: true });
    expect(await refusal(store)).toContain(`${store}/objects`);
    expectUnlocked(store);
    expect(temporariesIn(store)).toEqual([]);
  });
});

describe('a damaged store', () => {
  test('with an object of another size is reported with the object, and the remedy works', async () => {
    const store = await filledStore();
    const path = `${store}/objects/${objectsIn(store)[0]}`;
    const size = statSync(path).size;
    truncateSync(path, size - 1);
    const message = await refusal(store);
    expect(message).toContain(`Repository ${store} is damaged: object `);
    expect(message).toContain(`has ${size - 1} bytes instead of ${size}. Remove ${path} and pack again`);
    expect(statSync(path).size).toBe(size - 1);
    unlinkSync(path);
    expect(await packed(scratch, ['--store', store, source, image])).toMatchObject({ id, newObjects: 1 });
    expectWhole(store);
  });

  test('with leftovers of a killed run is cleaned', async () => {
    const store = await filledStore();
    writeFileSync(`${store}/tmp/0123456789abcdef-0-17`, 'half');
    await packed(scratch, ['--store', store, source, image]);
    expectWhole(store);
  });
});

describe('a full file system', () => {
  const big = scratch.at('big');
  let bigId: string;

  beforeAll(async () => {
    manyFiles(big, 400, 20_000);
    writeFileSync(`${big}/large`, Buffer.alloc(6 << 20, 'large '));
    bigId = (await packed(scratch, ['--store', scratch.at('roomy'), big, image])).id;
  });

  test.each(['tmpfs', 'ext4'] as const)(
    '(%s) is reported; whole objects stay, and with room it continues',
    async (type) => {
      const path = scratch.at(`full-${type}`);
      await (type === 'tmpfs' ? mountTmpfs(path, '10m') : mountLoop(path, 'ext4', 12));
      const ballast = `${path}/ballast`;
      writeFileSync(ballast, Buffer.alloc(4 << 20));
      const store = `${path}/store`;
      const message = await refusal(store, 5, big);
      expect(message).toContain(`Cannot write to repository ${store}: no space left on device`);
      expect(message).toContain('The objects that were stored before are complete, and the next run uses them');
      expectWhole(store);
      unlinkSync(ballast);
      rmSync(`${big}/large`);
      const elsewhere = await packed(scratch, ['--store', scratch.at('roomy'), big, image]);
      expect(elsewhere.id).not.toBe(bigId);
      expect((await packed(scratch, ['--store', store, big, image])).id).toBe(elsewhere.id);
      expect(expectWhole(store)).toHaveLength(400);
      writeFileSync(`${big}/large`, Buffer.alloc(6 << 20, 'large '));
    },
  );

  test('without free inodes is reported', async () => {
    const path = scratch.at('few-inodes');
    mkdirSync(path);
    await succeed(['mount', '-t', 'tmpfs', '-o', 'nr_inodes=400', 'cfs-test', path]);
    expect(await refusal(`${path}/store`)).toContain('no space left on device');
    expectWhole(`${path}/store`);
  });

  test('without room for the store itself is reported', async () => {
    const path = scratch.at('no-room');
    mkdirSync(path);
    await succeed(['mount', '-t', 'tmpfs', '-o', 'nr_inodes=100', 'cfs-test', path]);
    expect(await refusal(`${path}/store`)).toContain(`Cannot make a repository in ${path}/store: no space left`);
  });

  test('without room for the image is reported; the existing image stays', async () => {
    const path = await mountTmpfs(scratch.at('full-image'), '64k');
    writeFileSync(`${path}/image.cfs`, 'the image before');
    writeFileSync(`${path}/ballast`, Buffer.alloc(48 << 10));
    const message = messageOf(await mkimage(scratch, [big, `${path}/image.cfs`]), 2);
    expect(message).toBe(`Cannot write image ${path}/image.cfs: no space left on device`);
    expectImageKept(`${path}/image.cfs`, 'the image before');
    expect(readdirSync(path).sort()).toEqual(['ballast', 'image.cfs']);
    expectWhole(scratch.store);
  });
});

describe('an image that cannot be written', () => {
  test.each([
    ['a directory', '', 'it exists and is not a regular file'],
    ['a device', '/dev/null', 'it exists and is not a regular file'],
    ['in a directory that is missing', 'missing/image.cfs', 'there is no directory'],
    ['below a file', 'file/image.cfs', 'file'],
    ['of a name that is too long', `${'n'.repeat(256)}.cfs`, 'name too long'],
  ])('is reported before anything is packed: %s', async (_what, name, reason) => {
    const directory = scratch.directory('unwritable');
    writeFileSync(`${directory}/file`, '');
    const path = name.startsWith('/') ? name : `${directory}/${name}`;
    const outcome = await mkimage(scratch, ['--store', `${directory}/store`, source, path]);
    const message = messageOf(outcome, 1);
    expect(message).toContain(`Cannot write image ${path}: `);
    expect(message).toContain(reason);
    expect(readdirSync(directory)).toEqual(['file']);
  });

  test('for lack of permission is reported', async () => {
    const [home, own] = [scratch.directory('home'), scratch.directory('own')];
    chownSync(own, NOBODY, NOBODY);
    mkdirSync(`${home}/closed`, { mode: 0o700 });
    for (const path of [`${home}/image.cfs`, `${home}/closed/image.cfs`]) {
      const outcome = await run(scratch.nobody().tool('cfs-mkimage', ['--store', `${own}/store`, source, path]));
      expect(messageOf(outcome, 2)).toBe(`Cannot write image ${path}: permission denied`);
    }
  });
});

describe('several packers at once', () => {
  test('of the same tree into one new store make one image and each object once', async () => {
    const store = scratch.at('shared-store');
    const runs = [1, 2, 3].map((n) =>
      start(scratch, 'cfs-mkimage', ['--json', '--store', store, source, scratch.at(`shared-${n}.cfs`)]),
    );
    const outcomes = await Promise.all(runs.map(({ outcome }) => outcome));
    const results = outcomes.map(({ status, stdout, stderr }) => {
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      return JSON.parse(stdout) as { id: string; newObjects: number; objects: number };
    });
    expect(results.map((result) => result.id)).toEqual([id, id, id]);
    const objects = expectWhole(store);
    expect(objects).toHaveLength(results[0]?.objects as number);
    expect(results.reduce((sum, { newObjects }) => sum + newObjects, 0)).toBe(objects.length);
  });
});

describe('an error while threads are at work', () => {
  test('never ends in a crash: it is reported, again and again', async () => {
    const store = await filledStore();
    rmSync(`${store}/objects`, { recursive: true });
    // terminating worker threads in the middle of a native call once crashed the process, one time in five
    for (let i = 0; i < 20; i++) {
      const outcome = await mkimage(scratch, ['--no-fsync', '--threads', '8', '--store', store, source, image]);
      expect(outcome.signal).toBeNull();
      expect(messageOf(outcome, 5)).toContain(`Cannot write to repository ${store}: `);
      expect(temporariesIn(store)).toEqual([]);
    }
  });
});
