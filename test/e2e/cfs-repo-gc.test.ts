/** cfs-repo gc, register, unregister and images: their output, and packing at the same time. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { expectWhole, manyFiles, messageOf, mkimage, mountLoop, mountTmpfs, objectsIn, packed, start } from './cli.ts';
import { useScratch } from './harness.ts';
import { NOBODY, type Outcome, OWN_TOOLS, run, succeed } from './run.ts';
import { unmountBy } from './system.ts';

const scratch = useScratch();

const repo = (...args: readonly string[]): Promise<Outcome> => scratch.tool('cfs-repo', args);
const done = async (...args: readonly string[]): Promise<string> => {
  const { status, stdout, stderr } = await repo(...args);
  // verbose.test.ts is about the lines of -v on the tool itself
  const said = args.includes('-v') ? stderr.replace(/^cfs-repo: (?:version|repository|status) .*\n/gm, '') : stderr;
  expect({ status, said }).toEqual({ status: 0, said: '' });
  return stdout;
};
const now = ['--min-age', '0'];

let store: string;
let serial = 0;
/** A directory with this number of files, each with a content of its own. */
function source(files: number): string {
  const path = scratch.at(`source-${files}`);
  return existsSync(path) ? path : manyFiles(path, files, 300 + (files % 97) * 10);
}
const image = (files: number): string => scratch.at(`images-${serial}`, `${files}.cfs`);
const pack = (files: number, ...args: readonly string[]): ReturnType<typeof packed> =>
  packed(scratch, [...args, '--store', store, source(files), image(files)]);

beforeEach(() => {
  store = scratch.at(`store-${++serial}`);
  mkdirSync(scratch.at(`images-${serial}`));
});

describe('cfs-repo gc', () => {
  test('deletes the objects that only an unregistered image needs, and reports the freed space', async () => {
    const [{ id }] = [await pack(30), await pack(40)];
    expect(await done('gc', ...now, store)).toMatch(
      /^images {6}2 registered, 0 mounted\nkept .*70 objects.*\nfreed {7}0 objects \(0 B/,
    );
    await done('unregister', store, id);
    expect(await done('gc', '-n', ...now, store)).toMatch(/^would free {2}30 objects \(\d+\.\d kB, \d+ kB on disk\)$/m);
    expect(objectsIn(store)).toHaveLength(70);
    expect(await done('gc', ...now, store)).toMatch(
      /^freed {7}30 objects \(\d+\.\d kB, \d+ kB on disk\)\nalso {8}1 unused lease$/m,
    );
    expect(expectWhole(store)).toHaveLength(40);
  });

  test('keeps objects of the last hour, and reports that', async () => {
    const [{ id }] = [await pack(30), await pack(40)];
    await done('unregister', store, id);
    expect(await done('gc', store)).toMatch(/^of these {4}30 objects .* only because they are new \(--min-age\)$/m);
    expect(await done('gc', '--min-age', '1s', store)).toContain('objects');
  });

  test('keeps the objects of given images, registered or not', async () => {
    await pack(30, '--no-register');
    expect(await done('gc', ...now, '--keep', image(30), store)).toContain('1 by --keep');
    expect(objectsIn(store)).toHaveLength(30);
    const message = messageOf(await repo('gc', ...now, store), 1, 'cfs-repo');
    expect(message).toContain('would be kept: no image is registered');
    await done('gc', ...now, '--keep-none', store);
    expect(objectsIn(store)).toHaveLength(0);
  });

  test('prints one JSON object', async () => {
    await pack(30);
    const { path, uuid, ...rest } = JSON.parse(await done('gc', '--json', store)) as Record<string, unknown>;
    expect(path).toBe(store);
    expect(rest).toMatchObject({
      dryRun: false,
      registered: 1,
      mounted: 0,
      packed: 0,
      dead: 0,
      freed: { objects: 0, bytes: 0, diskBytes: 0 },
      kept: { objects: 30, bytes: expect.any(Number), diskBytes: expect.any(Number) },
      leftovers: 0,
    });
  });

  test('-v lists the images that keep objects, and each deleted object', async () => {
    const [one, two] = [await pack(6), await pack(3)];
    await pack(4, '--no-register');
    await done('unregister', store, two.id);
    rmSync(join(store, 'leases'), { recursive: true });
    const mounted = await scratch.mount(image(6), { repos: [store] });
    const lines = (await done('gc', '-v', '-n', ...now, '--keep', image(3), store)).trimEnd().split('\n');
    await mounted.unmount();
    expect(lines.filter((line) => /^would free {2}[0-9a-f]{64} {2}\d+ B$/.test(line))).toHaveLength(4);
    expect(lines.find((line) => line.startsWith(one.id))).toMatch(
      new RegExp(`^${one.id} +6 +.* +registered, mounted +${image(6)}$`),
    );
    expect(lines.at(-1)).toMatch(new RegExp(`--keep +${image(3)}$`));
    expect(JSON.parse(await done('gc', '-v', '-n', '--json', ...now, store))).toMatchObject({
      images: [{ id: one.id, why: ['registered'], objects: 6, paths: [image(6)], gone: false }],
      freed: { objects: 7 },
      freedObjects: expect.objectContaining({ length: 7 }),
    });
  });

  test('reports registered images that are gone, and so keep objects for no use', async () => {
    const { id } = await pack(6);
    await pack(3);
    expect(await done('gc', ...now, store)).not.toContain('gone');
    rmSync(image(6));
    expect(await done('gc', ...now, store)).toMatch(
      new RegExp(`^gone {8}${image(6)} is gone but still registered: .*--gone ${store}' unregisters it$`, 'm'),
    );
    expect(await done('unregister', '--gone', store)).toContain(id);
    expect(await done('gc', ...now, store)).toMatch(/^freed {7}6 objects/m);
  });

  test('waits for a packer, deletes nothing of it, and cleans up after a killed one', async () => {
    await pack(5);
    const large = source(3000);
    const packing = start(scratch, 'cfs-mkimage', ['--store', store, large, image(3000)]);
    while (objectsIn(store).length + readdirSync(join(store, 'tmp')).length < 500)
      await new Promise((r) => setTimeout(r, 2));
    const cleaning = repo('gc', ...now, '--json', store);
    expect((await packing.outcome).status).toBe(0);
    expect(JSON.parse((await cleaning).stdout)).toMatchObject({ registered: 2, freed: { objects: 0 } });
    expect((await scratch.tool('cfs-info', ['missing', '--repo', store, image(3000)])).status).toBe(0);
    rmSync(join(store, 'roots'), { recursive: true });
    await pack(5);
    const killed = start(scratch, 'cfs-mkimage', ['--store', store, '--rehash', source(2000), image(2000)]);
    while (readdirSync(join(store, 'tmp')).length < 100) await new Promise((r) => setTimeout(r, 1));
    process.kill(killed.pid, 'SIGKILL');
    await killed.outcome;
    const { leftovers, freed } = JSON.parse((await repo('gc', ...now, '--json', store)).stdout) as {
      leftovers: number;
      freed: { objects: number };
    };
    expect(leftovers).toBeGreaterThan(50);
    expect(freed.objects).toBeGreaterThanOrEqual(3000);
    expect(expectWhole(store)).toHaveLength(5);
  });

  test('can run again and again beside packing, and each image is whole', async () => {
    await pack(10);
    const images = [11, 12, 13, 14];
    let isPacking = true;
    const cleaning = (async () => {
      while (isPacking) expect((await repo('gc', ...now, store)).status).toBe(0);
    })();
    await Promise.all(images.map((files) => pack(files)));
    isPacking = false;
    await cleaning;
    for (const files of images) {
      expect((await scratch.tool('cfs-info', ['missing', '--repo', store, image(files)])).status).toBe(0);
    }
    expect((await repo('fsck', store)).status).toBe(0);
  });

  test('refuses if a root is damaged, and names a remedy that works', async () => {
    const { id } = await pack(10);
    await pack(12, '--no-register');
    truncateSync(join(store, 'roots', id), 300);
    const message = messageOf(await repo('gc', ...now, store), 5, 'cfs-repo');
    expect(message).toMatch(/^Nothing more is deleted: .*malformed/);
    expect(message).toContain(
      `It lists the objects of ${image(10)}. Register the image again ('cfs-repo register ${store} `,
    );
    expect(objectsIn(store)).toHaveLength(22);
    const checked = await repo('fsck', store);
    expect(checked.status).toBe(10);
    expect(checked.stdout).toMatch(new RegExp(`^${id} +${image(10)} +.*malformed`, 'm'));
    await done('register', store, image(10));
    expect(await repo('fsck', store)).toMatchObject({ status: 0 });
    await done('gc', ...now, store);
    expect(objectsIn(store)).toHaveLength(10);
  });

  test('reports which user may not delete, and where', async () => {
    const { id } = await pack(10);
    await pack(12);
    await done('unregister', store, id);
    const outcome = await run(scratch.nobody().tool('cfs-repo', ['gc', store]));
    expect(messageOf(outcome, 5, 'cfs-repo')).toBe(`Cannot write to repository ${store}: lock: permission denied`);
    const mounted = await mountTmpfs(scratch.at('tmpfs'));
    await succeed(['cp', '-a', store, mounted]);
    const copy = join(mounted, `store-${serial}`);
    await succeed(['mount', '-o', 'remount,ro', mounted]);
    expect(messageOf(await repo('gc', ...now, copy), 5, 'cfs-repo')).toContain('read-only file system');
    await unmountBy(['umount', mounted]);
  });

  test('deletes what it can, and continues where it was stopped', async () => {
    const { id } = await pack(40);
    await pack(3);
    await done('unregister', store, id);
    chmodSync(store, 0o777);
    await succeed(['chown', '-R', String(NOBODY), store]);
    const last = (await succeed(['sh', '-c', `ls -d ${store}/objects/* | tail -1`])).trim();
    const locked = objectsIn(store).sort().at(-1) as string;
    await succeed(['chown', 'root', join(last, '..', locked.slice(0, 2))]);
    const message = messageOf(await run(scratch.nobody().tool('cfs-repo', ['gc', ...now, store])), 5, 'cfs-repo');
    expect(message).toContain('permission denied');
    expect(message).toContain(`Cannot clean repository ${store}`);
    // root works in a store of another user only if it is trusted
    expect(messageOf(await repo('gc', ...now, store), 5, 'cfs-repo')).toContain(`user ${NOBODY} owns it`);
    await succeed(['chown', '-R', 'root', store]);
    chmodSync(store, 0o755);
    await done('gc', ...now, store);
    expect(expectWhole(store)).toHaveLength(3);
  });

  test('makes room on a full disk', async () => {
    store = await mountLoop(scratch.at('full'), 'ext4', 24);
    const big = scratch.directory('big');
    writeFileSync(join(big, 'file'), Buffer.alloc(8_000_000, 'big '));
    const old = await packed(scratch, ['--store', store, big, scratch.at('big.cfs')]);
    await pack(5);
    await run(['dd', 'if=/dev/zero', `of=${store}/filler`, 'bs=64k']);
    const full = await mkimage(scratch, ['--store', store, source(2000), image(2000)]);
    expect(messageOf(full, 5)).toContain('no space left on device');
    await done('unregister', store, old.id);
    expect(await done('gc', ...now, store)).toMatch(/^freed {7}.*MB on disk\)/m);
    await pack(2000);
    rmSync(join(store, 'filler'));
    expect((await repo('fsck', store)).status).toBe(0);
    await succeed(['umount', store]);
  });

  test.each([['5'], ['1y'], ['-1'], ['h']])('refuses --min-age %s', async (age) => {
    await pack(3);
    const { status, stderr } = await repo('gc', `--min-age=${age}`, store);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('--min-age takes a time') });
  });
});

describe('cfs-repo images', () => {
  test('lists the images that packing registered, with path, and those that are gone', async () => {
    const [one, two] = [await pack(10), await pack(12)];
    rmSync(image(12));
    const lines = (await done('images', store)).trimEnd().split('\n');
    expect(lines[0]).toMatch(/^image +objects +size +registered +path$/);
    const lineOf = (id: string): string => lines.find((line) => line.startsWith(id)) as string;
    expect(lineOf(one.id)).toMatch(new RegExp(` 10 +4\\.\\d kB +20\\S+Z +${image(10)}$`));
    expect(lineOf(two.id)).toMatch(new RegExp(`${image(12)} \\(gone\\)$`));
    const json = JSON.parse(await done('images', '--json', store)) as { id: string; state: string }[];
    expect(new Map(json.map(({ id, state }) => [id, state]))).toEqual(
      new Map([
        [one.id, 'there'],
        [two.id, 'gone'],
      ]),
    );
    await done('unregister', '--gone', store);
    expect(await done('images', store)).toContain(one.id);
    expect(await done('images', store)).not.toContain(two.id);
  });

  test('an image that replaced another one is not gone, but the other is', async () => {
    const first = await pack(10);
    await packed(scratch, ['--store', store, source(12), image(10)]);
    await done('unregister', '--gone', store);
    expect(await done('images', store)).not.toContain(first.id);
    expect((await done('images', store)).trimEnd().split('\n')).toHaveLength(2);
  });

  test('keeps every path of an image, and unregisters it with the last one', async () => {
    const [release, nightly] = [
      scratch.at(`images-${serial}`, 'release.cfs'),
      scratch.at(`images-${serial}`, 'nightly.cfs'),
    ];
    const { id } = await packed(scratch, ['--store', store, source(10), release]);
    await packed(scratch, ['--store', store, source(10), nightly]);
    expect((await done('images', store)).trimEnd().split('\n').slice(1)).toEqual([
      expect.stringMatching(new RegExp(`^${id} .* ${nightly}$`)),
      expect.stringMatching(new RegExp(`^ +${release}$`)),
    ]);
    rmSync(nightly);
    expect(await done('unregister', '--gone', store)).toBe(`${id}  stays registered; not at ${nightly} any more\n`);
    await done('gc', ...now, store);
    expect((await scratch.tool('cfs-info', ['missing', '--repo', store, release])).status).toBe(0);
    rmSync(release);
    expect(await done('unregister', '--gone', store)).toBe(`${id}  unregistered\n`);
    expect(await done('unregister', '--gone', store)).toBe('');
    expect(readdirSync(join(store, 'paths'))).toEqual([]);
  });

  test('finds an image again that was moved in its directory, as when it is published', async () => {
    const directory = scratch.directory(`published-${serial}`);
    const { id } = await packed(scratch, ['--store', store, source(10), join(directory, 'x.tmp')]);
    renameSync(join(directory, 'x.tmp'), join(directory, 'x.cfs'));
    const moved = new RegExp(`x\\.tmp \\(moved to ${directory}/x\\.cfs\\)$`);
    expect((await done('images', store)).trimEnd().split('\n')[1]).toMatch(moved);
    expect(JSON.parse(await done('unregister', '--gone', '--json', store))).toMatchObject([
      { id, unregistered: false, moved: [{ from: join(directory, 'x.tmp'), to: join(directory, 'x.cfs') }] },
    ]);
    expect(JSON.parse(await done('images', '--json', store))).toMatchObject([
      { id, path: join(directory, 'x.cfs'), state: 'there' },
    ]);
    // and if another image has replaced it
    renameSync(join(directory, 'x.cfs'), join(directory, 'old.cfs'));
    await packed(scratch, ['--store', store, source(12), join(directory, 'x.cfs')]);
    await done('unregister', '--gone', store);
    expect((await done('images', store)).trimEnd().split('\n')).toHaveLength(3);
  });

  test('unregisters nothing that cannot be examined', async () => {
    const disk = await mountTmpfs(scratch.at(`disk-${serial}`));
    const { id } = await packed(scratch, ['--store', store, source(10), join(disk, 'x.cfs')]);
    await succeed(['umount', disk]);
    expect(await done('unregister', '--gone', store)).toContain(`its file system, at ${disk}, is not mounted here now`);
    await mountTmpfs(disk);
    expect(JSON.parse(await done('images', '--json', store))).toMatchObject([{ id, state: 'unknown' }]);
    await succeed(['umount', disk]);
    // a damaged image may have good copies
    await pack(12);
    truncateSync(image(12), 100);
    await done('unregister', '--gone', store);
    expect((await done('images', store)).trimEnd().split('\n')).toHaveLength(3);
  });

  test('keeps an image that is not at its path as long as it is mounted', async () => {
    const { id } = await pack(10);
    const mounted = await scratch.mount(image(10), { repos: [store] });
    expect(await done('gc', store)).toContain('images      1 registered, 1 mounted\n');
    rmSync(image(10));
    expect(await done('unregister', '--gone', store)).toContain(`${id}  stays registered; it is mounted`);
    await mounted.unmount();
    expect(await done('unregister', '--gone', store)).toBe(`${id}  unregistered\n`);
  });

  test('never records the path of a descriptor, which may be another file tomorrow', async () => {
    await pack(10, '--no-register');
    await succeed([
      'sh',
      '-c',
      'exec "$0" "$1" register "$2" /dev/stdin < "$3"',
      process.execPath,
      `${OWN_TOOLS.dist}/tools/cfs-repo.js`,
      store,
      image(10),
    ]);
    expect(JSON.parse(await done('images', '--json', store))).toMatchObject([{ path: image(10) }]);
    const piped = await run([
      'sh',
      '-c',
      'cat "$3" | exec "$0" "$1" register "$2" /dev/stdin',
      process.execPath,
      `${OWN_TOOLS.dist}/tools/cfs-repo.js`,
      store,
      image(10),
    ]);
    expect(messageOf(piped, 3, 'cfs-repo')).toContain('it is not a regular file');
    expect(readdirSync(join(store, 'paths'))).toHaveLength(1);
  });

  test('unregister by a path leaves the image at others; by an id or its beginning it removes all', async () => {
    const [one, two] = [scratch.at(`one-${serial}.cfs`), scratch.at(`two-${serial}.cfs`)];
    const { id } = await packed(scratch, ['--store', store, source(10), one]);
    await packed(scratch, ['--store', store, source(10), two]);
    await succeed(['cp', two, `${two}.copy`]);
    expect(messageOf(await repo('unregister', store, `${two}.copy`), 1, 'cfs-repo')).toContain(
      `is not registered with path`,
    );
    expect(await done('unregister', store, two)).toBe(
      `${id}  stays registered; not at ${two} any more; it is at ${one}\n`,
    );
    await done('register', store, two);
    expect(await done('unregister', store, id.slice(0, 8))).toBe(`${id}  unregistered (${one}, ${two})\n`);
    expect(await done('images', store)).toBe('');
  });

  test('unregister accepts the path of an image that was deleted, and distinguishes ids that begin alike', async () => {
    const { id } = await pack(10);
    const other = `${id.slice(0, 20)}${'0'.repeat(44)}`;
    rmSync(image(10));
    await succeed(['cp', join(store, 'roots', id), join(store, 'roots', other)]);
    const ambiguous = messageOf(await repo('unregister', store, id.slice(0, 6)), 1, 'cfs-repo');
    expect(ambiguous).toContain(`the ids of 2 images begin with ${id.slice(0, 6)}: `);
    expect(ambiguous).toContain(other);
    expect(messageOf(await repo('unregister', store, 'abcdef12'), 1, 'cfs-repo')).toContain('no image whose id begins');
    expect(messageOf(await repo('unregister', store, scratch.at('none.cfs')), 3, 'cfs-repo')).toContain(
      'no image is registered with this path',
    );
    expect(await done('unregister', store, image(10))).toBe(`${id}  unregistered\n`);
    expect(await done('unregister', store, other.slice(0, 24).toUpperCase())).toBe(`${other}  unregistered\n`);
  });

  test('escapes a path that would break the line', async () => {
    const path = scratch.at('two\nlines.cfs');
    await packed(scratch, ['--store', store, source(10), path]);
    expect((await done('images', store)).trimEnd().split('\n')[1]).toContain('two\\x0alines.cfs');
    const [{ path: told }] = JSON.parse(await done('images', '--json', store)) as [{ path: string }];
    expect(told).toBe(path);
    await done('unregister', '--gone', store);
  });

  test('packing the same again registers nothing new', async () => {
    const [first, second] = [await pack(10), await pack(10)];
    expect(second).toMatchObject({ id: first.id, registered: true });
    expect(readdirSync(join(store, 'roots'))).toEqual([first.id]);
    expect(readdirSync(join(store, 'leases'))).toEqual([]);
  });

  test('register reports missing objects; unregister reports an image that is not registered', async () => {
    await pack(10, '--no-register');
    rmSync(join(store, 'objects', objectsIn(store)[0] as string));
    const { status, stderr } = await repo('register', store, image(10));
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: `cfs-repo: ${image(10)}: 1 of its objects are not in ${store}\n`,
    });
    // the image was incomplete when it was registered: that is no damage
    expect((await repo('fsck', store)).status).toBe(0);
    await done('unregister', store, image(10));
    expect(messageOf(await repo('unregister', store, image(10)), 1, 'cfs-repo')).toContain('is not registered');
    expect(messageOf(await repo('unregister', store), 1, 'cfs-repo')).toContain('or --gone');
  });

  test('fsck names the files that have a damaged object, and another image at a registered path', async () => {
    const tree = scratch.directory(`named-${serial}`);
    mkdirSync(join(tree, 'sub'));
    for (const name of ['sub/one', 'two']) writeFileSync(join(tree, name), 'the same '.repeat(50));
    writeFileSync(join(tree, 'other'), 'another '.repeat(50));
    const { id } = await packed(scratch, ['--store', store, tree, image(1)]);
    const list = (await scratch.tool('cfs-info', ['objects', image(1)])).stdout.trim().split('\n');
    const object = (list.find((line) => line.endsWith(' 2')) as string).slice(0, 64);
    truncateSync(join(store, 'objects', object.slice(0, 2), object.slice(2)), 5);
    expect((await repo('fsck', '-n', store)).stdout).toMatch(
      new RegExp(`^${object}  its content is corrupted  1\\.cfs:/sub/one \\(\\+1 more\\)  left$`, 'm'),
    );
    expect(JSON.parse((await repo('fsck', '-n', '--json', store)).stdout)).toMatchObject({
      damaged: [{ object, inCount: 2, in: ['/sub/one', '/two'].map((file) => ({ image: image(1), file })) }],
      replacedImages: [],
    });
    const { id: other } = await pack(10);
    await succeed(['cp', image(10), image(1)]);
    expect((await repo('fsck', '-n', store)).stdout).toContain(
      `${id}  another image is at its path, ${other}: ${image(1)}\n`,
    );
  });

  test('fsck reports a missing object of a registered image, and fetches it', async () => {
    await pack(10);
    await succeed(['cp', '-a', store, `${store}.good`]);
    const object = objectsIn(store)[4] as string;
    rmSync(join(store, 'objects', object));
    const { status, stdout } = await repo('fsck', store);
    expect(status).toBe(10);
    expect(stdout).toMatch(new RegExp(`^${object.replace('/', '')}  it is missing; image [0-9a-f]{64} needs it`, 'm'));
    expect((await repo('fsck', '--repair-from', `${store}.good`, store)).status).toBe(11);
    expect((await repo('fsck', store)).status).toBe(0);
  });
});
