import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { compareBytes, toHex } from '../../../../src/base/bytes.ts';
import { digestContent } from '../../../../src/base/digest.ts';
import type { CfsError } from '../../../../src/base/error.ts';
import { collectGarbage, type GcOptions, type GcResult } from '../../../../src/store/gc/gc.ts';
import { endLease, isWritten, takeLease, writeLease } from '../../../../src/store/gc/lease.ts';
import { KeptInMemory } from '../../../../src/store/gc/live-set.ts';
import { type KeptImage, writeKeepList } from '../../../../src/store/gc/object-list-file.ts';
import {
  forgetPaths,
  keepForAWhile,
  listRoots,
  registerImage,
  takeBack,
  unregisterImage,
} from '../../../../src/store/gc/roots.ts';
import type { LocalRepository } from '../../../../src/store/local-repository.ts';
import { lockForWriting } from '../../../../src/store/lock.ts';
import { initRepository } from '../../../../src/store/open-repository.ts';
import { Random } from '../../../support/random.ts';
import { useScratch } from '../scratch.ts';

const at = useScratch();
const random = new Random(31);
let serial = 0;
let repository: LocalRepository;
beforeEach(() => {
  repository = initRepository(at(`r${serial++}`), 'blake3');
});

interface TestImage extends KeptImage {
  readonly objects: readonly string[];
}

/** Stores `count` new objects, and gives an image of them and of `shared`. */
function image(count: number, shared: readonly Uint8Array[] = []): TestImage {
  const digests = Array.from({ length: count }, () => {
    const content = random.bytes(200);
    const { digest } = digestContent('blake3', content);
    writeFileSync(repository.objectPath(digest), content, { mode: 0o444 });
    return digest;
  });
  const all = [...digests, ...shared].sort(compareBytes);
  return {
    image: toHex(random.bytes(32)),
    hash: 'blake3',
    bytes: 200 * all.length,
    path: '',
    complete: true,
    digests: Buffer.concat(all),
    objects: digests.map(toHex),
  };
}

const gc = (options: Partial<GcOptions> = {}): Promise<GcResult> =>
  collectGarbage(repository, {
    keep: [],
    minAgeMs: 0,
    dryRun: false,
    keepNone: false,
    emptyQuarantine: false,
    ...options,
  });

const refused = (options: Partial<GcOptions> = {}): Promise<CfsError> =>
  gc(options).then(
    () => {
      throw new Error('it did not refuse');
    },
    (error: CfsError) => error,
  );

const objects = (): string[] =>
  readdirSync(join(repository.path, 'objects'))
    .flatMap((prefix) => readdirSync(join(repository.path, 'objects', prefix)).map((name) => prefix + name))
    .sort();

const sorted = (...lists: readonly (readonly string[])[]): string[] => [...new Set(lists.flat())].sort();

describe('collectGarbage()', () => {
  test('keeps the objects of registered, named and mounted images, and deletes the rest', async () => {
    const [registered, named, mounted, none] = [image(50), image(40), image(30), image(20)];
    await registerImage(repository, registered, false);
    const lease = await takeLease(repository, mounted.image);
    await writeLease(lease, mounted);
    lease.release();
    const result = await gc({ keep: [new KeptInMemory(named.digests)] });
    expect(result).toMatchObject({
      registered: 1,
      mounted: 1,
      freed: { objects: 20, bytes: 4000 },
      kept: { objects: 120 },
    });
    expect(result.freed.diskBytes).toBeGreaterThanOrEqual(20 * 512);
    expect(objects()).toEqual(sorted(registered.objects, named.objects, mounted.objects));
    expect(none.objects.every((object) => !objects().includes(object))).toBe(true);
    endLease(repository, lease);
    expect(await gc()).toMatchObject({ freed: { objects: 70 }, mounted: 0, dead: 0 });
    expect(objects()).toEqual(sorted(registered.objects));
  });

  test('keeps an object as long as one image needs it', async () => {
    const first = image(10);
    const shared = [first.digests.subarray(0, 32), first.digests.subarray(96, 128)];
    const second = image(10, shared);
    for (const each of [first, second]) await registerImage(repository, each, false);
    unregisterImage(repository, first.image);
    expect(await gc()).toMatchObject({ registered: 1, dead: 1, freed: { objects: 8 } });
    expect(objects()).toEqual(sorted(second.objects, shared.map(toHex)));
  });

  test('deletes nothing with dryRun, and reports the same', async () => {
    await registerImage(repository, image(5), false);
    image(7);
    writeFileSync(join(repository.temporaryDirectory, '0123456789abcdef-left'), '');
    const before = objects();
    const dry = await gc({ dryRun: true });
    expect(objects()).toEqual(before);
    expect(readdirSync(repository.temporaryDirectory)).toEqual(['0123456789abcdef-left']);
    expect(await gc()).toEqual(dry);
    expect(dry).toMatchObject({ freed: { objects: 7 }, leftovers: 1 });
  });

  test('keeps recent objects', async () => {
    await registerImage(repository, image(5), false);
    const young = image(7);
    expect(await gc({ minAgeMs: 60_000 })).toMatchObject({ freed: { objects: 0 }, young: { objects: 7 } });
    // the time of its content says nothing: it may have been copied here just now
    for (const object of young.objects) utimesSync(repository.objectPath(Buffer.from(object, 'hex')), 1, 1);
    expect(await gc({ minAgeMs: 60_000 })).toMatchObject({ young: { objects: 7 } });
    await sleep(20);
    expect(await gc({ minAgeMs: 10 })).toMatchObject({ freed: { objects: 7 } });
  });

  test('refuses if nothing keeps any object, unless keepNone is set', async () => {
    image(3);
    expect(await refused()).toMatchObject({ kind: 'usage', hint: '`keepNone` deletes all objects.' });
    expect(objects()).toHaveLength(3);
    expect(await gc({ keepNone: true })).toMatchObject({ freed: { objects: 3 } });
  });

  test.each([
    ['cut off', (path: string) => truncateSync(path, 200)],
    ['empty', (path: string) => truncateSync(path, 0)],
    ['something else', (path: string) => writeFileSync(path, 'x'.repeat(300))],
    [
      'with a flipped bit',
      (path: string) => {
        const bytes = readFileSync(path);
        bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
        writeFileSync(path, bytes);
      },
    ],
    [
      'of another image',
      (path: string) => {
        writeFileSync(`${path.slice(0, -1)}${path.endsWith('0') ? '1' : '0'}`, readFileSync(path));
      },
    ],
    [
      'a directory',
      (path: string) => {
        rmSync(path);
        mkdirSync(path);
      },
    ],
  ])('refuses, and deletes nothing, if a root is %s', async (_what, damage) => {
    const registered = image(3);
    await registerImage(repository, registered, false);
    image(4);
    damage(join(repository.rootsDirectory, registered.image));
    const { kind, message, hint } = await refused();
    expect(kind).toBe('store');
    expect(message).toMatch(/^Nothing more is deleted: .*(malformed|not a regular file)/);
    expect(hint).toMatch(/Register the image again .*, or take it off the list \(`unregisterImage`\)/);
    expect(objects()).toHaveLength(7);
  });

  test('refuses if a name in roots/ is not an image id', async () => {
    await registerImage(repository, image(3), false);
    writeFileSync(join(repository.rootsDirectory, 'backup~'), '');
    expect((await refused()).message).toContain('its name is not an image id');
  });

  test('refuses as long as a mount has a lease that is not written', async () => {
    await registerImage(repository, image(3), false);
    const mounted = image(4);
    const lease = await takeLease(repository, mounted.image);
    lease.release();
    expect((await refused()).message).toContain('it is cut off');
    await writeLease(lease, mounted);
    expect(await gc()).toMatchObject({ mounted: 1, freed: { objects: 0 } });
    endLease(repository, lease);
  });

  test('waits for a mount that is writing its lease', async () => {
    const mounted = image(4);
    const lease = await takeLease(repository, mounted.image);
    const cleaning = gc();
    await writeLease(lease, mounted);
    lease.release();
    expect(await cleaning).toMatchObject({ mounted: 1, freed: { objects: 0 } });
    endLease(repository, lease);
  });

  test('waits for a writer, and knows the image that it registered', async () => {
    const other = image(2);
    await registerImage(repository, other, false);
    const packed = image(4);
    const writing = await lockForWriting(repository);
    const cleaning = gc();
    await sleep(80);
    await registerImage(repository, packed, false);
    writing.release();
    expect(await cleaning).toMatchObject({ registered: 2, freed: { objects: 0 } });
  });

  test('keeps an image that was packed and not registered as long as it is young', async () => {
    await registerImage(repository, image(2), false);
    const packed = image(4);
    await keepForAWhile(repository, packed, false);
    expect(await gc({ minAgeMs: 60_000 })).toMatchObject({ packed: 1, young: { objects: 0 }, freed: { objects: 0 } });
    await sleep(20);
    expect(await gc({ minAgeMs: 10 })).toMatchObject({ packed: 0, dead: 1, freed: { objects: 4 } });
    expect(readdirSync(repository.leasesDirectory)).toEqual([]);
  });

  test('empties quarantine only on request', async () => {
    await registerImage(repository, image(1), false);
    mkdirSync(repository.quarantineDirectory);
    const name = join(repository.quarantineDirectory, 'cd'.repeat(32));
    writeFileSync(name, '');
    expect(await gc()).toMatchObject({ quarantined: 0 });
    expect(existsSync(name)).toBe(true);
    expect(await gc({ emptyQuarantine: true })).toMatchObject({ quarantined: 1 });
    expect(existsSync(name)).toBe(false);
  });

  test('keeps files that are not objects', async () => {
    await registerImage(repository, image(1), false);
    writeFileSync(join(repository.path, 'objects/00/notes'), '');
    mkdirSync(join(repository.path, 'objects/00', 'a'.repeat(62)));
    await gc();
    expect(readdirSync(join(repository.path, 'objects/00')).filter((name) => /notes|^a+$/.test(name))).toHaveLength(2);
  });
});

describe('a lease', () => {
  test('of a registered image is a lock on its root: nothing is written', async () => {
    const registered = image(5);
    await registerImage(repository, registered, false);
    const lease = await takeLease(repository, registered.image);
    lease.release();
    expect(lease.name).toBeUndefined();
    expect(isWritten(lease)).toBe(true);
    expect(readdirSync(repository.leasesDirectory)).toEqual([]);
    // which goes on when the image is unregistered, and when its list is written anew
    await registerImage(repository, { ...registered, complete: false }, false);
    unregisterImage(repository, registered.image);
    expect(await gc()).toMatchObject({ registered: 0, mounted: 1, dead: 1, freed: { objects: 0 } });
    closeSync(lease.fd);
    expect(await gc({ keepNone: true })).toMatchObject({ dead: 1, freed: { objects: 5 } });
  });

  test('is separate for each mount', async () => {
    const packed = image(5);
    const leases = [await takeLease(repository, packed.image), await takeLease(repository, packed.image)];
    for (const lease of leases) {
      await writeLease(lease, packed);
      lease.release();
    }
    expect(await gc()).toMatchObject({ mounted: 2 });
    endLease(repository, leases[0] as (typeof leases)[0]);
    expect(await gc()).toMatchObject({ mounted: 1, freed: { objects: 0 } });
    endLease(repository, leases[1] as (typeof leases)[0]);
    expect(readdirSync(repository.leasesDirectory)).toEqual([]);
  });

  test('is dead if its process ended without closing it, as with the last descriptor', async () => {
    const packed = image(5);
    const lease = await takeLease(repository, packed.image);
    await writeLease(lease, packed);
    lease.release();
    closeSync(lease.fd);
    expect(await gc({ keepNone: true })).toMatchObject({ mounted: 0, dead: 1, freed: { objects: 5 } });
  });

  test('reports why it cannot be taken', async () => {
    writeFileSync(repository.leasesDirectory, '');
    const failure = await takeLease(repository, 'ef'.repeat(32)).catch((error: CfsError) => error);
    expect((failure as CfsError).message).toContain('Cannot keep objects of repository');
    const fd = openSync(repository.lockPath, 'a');
    closeSync(fd);
    expect(await gc({ keepNone: true }).catch((error: CfsError) => error.kind)).toBe('store');
  });
});

describe('registering', () => {
  const pathsOf = (): readonly string[][] => listRoots(repository).map(({ paths }) => paths.map(({ path }) => path));

  test('is done once, and adds a path for each place of the image', async () => {
    const one = { ...image(3), path: '/b.cfs' };
    expect(await registerImage(repository, one, true)).toEqual({ isNew: true, isNewPath: true });
    const root = statSync(join(repository.rootsDirectory, one.image)).ino;
    expect(await registerImage(repository, one, true)).toEqual({ isNew: false, isNewPath: false });
    expect(await registerImage(repository, { ...one, path: '/a.cfs' }, true)).toEqual({
      isNew: false,
      isNewPath: true,
    });
    expect(pathsOf()).toEqual([['/a.cfs', '/b.cfs']]);
    // the list of objects is not written again for a path
    expect(statSync(join(repository.rootsDirectory, one.image)).ino).toBe(root);
    expect(unregisterImage(repository, one.image)).toBe(true);
    expect(unregisterImage(repository, one.image)).toBe(false);
  });

  test('at several paths at the same time keeps each of them', async () => {
    const one = image(3);
    const paths = Array.from({ length: 20 }, (_, i) => `/image-${String(i).padStart(2, '0')}.cfs`);
    await Promise.all(paths.map((path) => registerImage(repository, { ...one, path }, false)));
    expect(pathsOf()).toEqual([paths]);
  });

  test('reads the registration of an earlier version, with a path in the root', async () => {
    const one = image(3);
    mkdirSync(repository.rootsDirectory);
    const fd = openSync(join(repository.rootsDirectory, one.image), 'wx+');
    await writeKeepList(fd, { ...one, path: '/old.cfs' });
    closeSync(fd);
    expect(pathsOf()).toEqual([['/old.cfs']]);
    await registerImage(repository, { ...one, path: '/new.cfs' }, false);
    expect(pathsOf()).toEqual([['/new.cfs', '/old.cfs']]);
    const lease = await takeLease(repository, one.image);
    lease.release();
    await forgetPaths(repository, one.image, ['/old.cfs']);
    expect(pathsOf()).toEqual([['/new.cfs']]);
    // a mount that has its lease on the root before keeps it
    unregisterImage(repository, one.image);
    expect(await gc()).toMatchObject({ registered: 0, mounted: 1, freed: { objects: 0 } });
    closeSync(lease.fd);
  });

  test('keeps the registrations of others when it is undone', async () => {
    const one = { ...image(3), path: '/a.cfs' };
    const other = { ...one, path: '/b.cfs' };
    const done = await registerImage(repository, one, false);
    await registerImage(repository, other, false);
    takeBack(repository, one, done);
    expect(pathsOf()).toEqual([['/b.cfs']]);
    takeBack(repository, other, { isNew: true, isNewPath: true });
    expect(pathsOf()).toEqual([]);
    expect(readdirSync(repository.pathsDirectory)).toEqual([]);
  });

  test('leaves records of paths to gc if the image is not registered', async () => {
    const one = { ...image(3), path: '/a.cfs' };
    await registerImage(repository, one, false);
    await registerImage(repository, image(3), false);
    renameSync(join(repository.rootsDirectory, one.image), join(repository.leasesDirectory, `${one.image}-00`));
    expect(readdirSync(repository.pathsDirectory)).toHaveLength(2);
    await gc();
    expect(readdirSync(repository.pathsDirectory)).toHaveLength(1);
  });

  test.each([
    ['empty', Buffer.alloc(0)],
    ['cut off', Buffer.from('cfs-path 1\nmount /')],
    ['of another path', Buffer.from('cfs-path 1\npath /b.cfs')],
    ['of another version', Buffer.from('cfs-path 2\npath /a.cfs')],
    ['huge', Buffer.alloc(100_000, 'x')],
  ])('reports a record that is %s, and keeps the image', async (_what, bytes) => {
    const one = { ...image(3), path: '/a.cfs' };
    await registerImage(repository, one, false);
    const record = join(repository.pathsDirectory, readdirSync(repository.pathsDirectory)[0] as string);
    writeFileSync(record, bytes);
    const [root] = listRoots(repository);
    expect(root).toMatchObject({ paths: [], malformedPaths: [expect.stringContaining(`${record} is malformed`)] });
    // what is registered again is good again
    await registerImage(repository, one, false);
    expect(pathsOf()).toEqual([['/a.cfs']]);
  });

  test('replaces a malformed root', async () => {
    const one = image(3);
    await registerImage(repository, one, false);
    truncateSync(join(repository.rootsDirectory, one.image), 150);
    expect(listRoots(repository)[0]?.problem).toContain('is malformed');
    await registerImage(repository, one, false);
    expect(listRoots(repository)[0]?.problem).toBeUndefined();
    expect(await gc()).toMatchObject({ registered: 1, dead: 1 });
  });

  test('leaves nothing in tmp/', async () => {
    await registerImage(repository, image(3), true);
    await keepForAWhile(repository, image(3), true);
    expect(readdirSync(repository.temporaryDirectory)).toEqual([]);
  });
});
