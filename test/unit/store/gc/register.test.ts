import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { takeLease } from '../../../../src/store/gc/lease.ts';
import { keepForAWhile } from '../../../../src/store/gc/leases.ts';
import { writeKeepList } from '../../../../src/store/gc/object-list-file.ts';
import { forgetPaths, registerImage, takeBack, unregisterImage } from '../../../../src/store/gc/register.ts';
import { listRoots } from '../../../../src/store/gc/roots.ts';
import type { LocalRepository } from '../../../../src/store/local-repository.ts';
import { GcFixture } from './gc-fixture.ts';

const fixture = new GcFixture();
const image: GcFixture['image'] = (...args) => fixture.image(...args);
const gc: GcFixture['gc'] = (options) => fixture.gc(options);
let repository: LocalRepository;
beforeEach(() => {
  repository = fixture.repository;
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
    // a mount that already has its lease on the root keeps it
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
    renameSync(join(repository.rootsDirectory, one.image), join(fixture.leasesDirectory, `${one.image}-00`));
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
    // registering again writes a good record
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
