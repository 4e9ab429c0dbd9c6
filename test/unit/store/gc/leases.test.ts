import { closeSync, openSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import type { CfsError } from '../../../../src/base/error.ts';
import { endLease, isWritten, takeLease, writeLease } from '../../../../src/store/gc/lease.ts';
import {
  deleteLeaseIn,
  isLive,
  keepForAWhile,
  leaseKind,
  leaseName,
  makeLeases,
  withLeases,
} from '../../../../src/store/gc/leases.ts';
import { registerImage, unregisterImage } from '../../../../src/store/gc/register.ts';
import type { LocalRepository } from '../../../../src/store/local-repository.ts';
import { GcFixture } from './gc-fixture.ts';

const fixture = new GcFixture();
const image: GcFixture['image'] = (...args) => fixture.image(...args);
const gc: GcFixture['gc'] = (options) => fixture.gc(options);
let repository: LocalRepository;
beforeEach(() => {
  repository = fixture.repository;
});

describe('a lease', () => {
  test('of a registered image is a lock on its root: nothing is written', async () => {
    const registered = image(5);
    await registerImage(repository, registered, false);
    const lease = await takeLease(repository, registered.image);
    lease.release();
    expect(lease.name).toBeUndefined();
    expect(isWritten(lease)).toBe(true);
    expect(readdirSync(fixture.leasesDirectory)).toEqual([]);
    // the lease stays held when the image is unregistered, and when its list is rewritten
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
    expect(readdirSync(fixture.leasesDirectory)).toEqual([]);
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
    writeFileSync(fixture.leasesDirectory, '');
    const failure = await takeLease(repository, 'ef'.repeat(32)).catch((error: CfsError) => error);
    expect((failure as CfsError).message).toContain('Cannot keep objects of repository');
    const fd = openSync(repository.lockPath, 'a');
    closeSync(fd);
    expect(await gc({ keepNone: true }).catch((error: CfsError) => error.kind)).toBe('store');
  });
});

describe('leases/', () => {
  const names = (): string[] => {
    const all: string[] = [];
    withLeases(repository, (_, own) => all.push(...own));
    return all;
  };

  test('has no leases if it is missing, and ignores other names', () => {
    expect(names()).toEqual([]);
    makeLeases(repository).close();
    const [mounted, packed] = [leaseName('ab'.repeat(32)), `${'cd'.repeat(32)}.packed`];
    for (const name of [packed, 'notes', 'ab'.repeat(32), mounted, `${mounted}0`, `${packed}~`]) {
      writeFileSync(join(fixture.leasesDirectory, name), '');
    }
    expect(names()).toEqual([mounted, packed]);
    expect([mounted, packed].map(leaseKind)).toEqual(['mounted', 'packed']);
  });

  test('tells a lease that is locked, or young, from a dead one', async () => {
    const lease = await takeLease(repository, 'ab'.repeat(32));
    lease.release();
    const name = lease.name as string;
    const leases = makeLeases(repository);
    try {
      expect(isLive(leases, name, 0)).toBe(true);
      closeSync(lease.fd);
      expect(isLive(leases, name, 60_000)).toBe(false);
      const packed = image(1);
      await keepForAWhile(repository, packed, false);
      expect(isLive(leases, `${packed.image}.packed`, 60_000)).toBe(true);
      expect(isLive(leases, `${packed.image}.packed`, -1)).toBe(false);
    } finally {
      leases.close();
    }
  });

  test('loses the lease of a mount that ends, by the descriptor of the repository', async () => {
    const lease = await takeLease(repository, 'ab'.repeat(32));
    lease.release();
    closeSync(lease.fd);
    const directory = openSync(repository.path, 'r');
    try {
      deleteLeaseIn(directory, lease.name as string);
      expect(names()).toEqual([]);
      expect(() => deleteLeaseIn(directory, lease.name as string)).toThrow('ENOENT');
    } finally {
      closeSync(directory);
    }
  });

  test('keeps an image that was packed and not registered as long as it is young', async () => {
    await registerImage(repository, image(2), false);
    const packed = image(4);
    await keepForAWhile(repository, packed, false);
    expect(await gc({ minAgeMs: 60_000 })).toMatchObject({ packed: 1, young: { objects: 0 }, freed: { objects: 0 } });
    await sleep(20);
    expect(await gc({ minAgeMs: 10 })).toMatchObject({ packed: 0, dead: 1, freed: { objects: 4 } });
    expect(readdirSync(fixture.leasesDirectory)).toEqual([]);
  });
});
