import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { toHex } from '../../../../src/base/bytes.ts';
import type { CfsError } from '../../../../src/base/error.ts';
import type { GcOptions } from '../../../../src/store/gc/gc.ts';
import { endLease, takeLease, writeLease } from '../../../../src/store/gc/lease.ts';
import { KeptInMemory } from '../../../../src/store/gc/live-set.ts';
import { registerImage, unregisterImage } from '../../../../src/store/gc/register.ts';
import type { LocalRepository } from '../../../../src/store/local-repository.ts';
import { lockForWriting } from '../../../../src/store/lock.ts';
import { GcFixture } from './gc-fixture.ts';

const fixture = new GcFixture();
const image: GcFixture['image'] = (...args) => fixture.image(...args);
const gc: GcFixture['gc'] = (options) => fixture.gc(options);
let repository: LocalRepository;
beforeEach(() => {
  repository = fixture.repository;
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
    // the mtime is no evidence: the file may have been copied here just now
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
