import { chmodSync, closeSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { endLease, takeLease, writeLease } from '../../../../src/store/gc/lease.ts';
import { keepForAWhile } from '../../../../src/store/gc/leases.ts';
import { registerImage, unregisterImage } from '../../../../src/store/gc/register.ts';
import { type ImageUsage, type RepositoryUsage, repositoryUsage } from '../../../../src/store/gc/usage.ts';
import type { LocalRepository } from '../../../../src/store/local-repository.ts';
import { digestsOf, GcFixture, type TestImage } from './gc-fixture.ts';

const fixture = new GcFixture();
const HOUR_MS = 3_600_000;
let repository: LocalRepository;
beforeEach(() => {
  repository = fixture.repository;
});

const usage = (minAgeMs = HOUR_MS): Promise<RepositoryUsage> => repositoryUsage(repository, { minAgeMs });

async function lease(image: TestImage): Promise<() => void> {
  const taken = await takeLease(repository, image.image);
  if (taken.name !== undefined) await writeLease(taken, image);
  taken.release();
  return () => endLease(repository, taken);
}

/** Numbers of objects. */
function countsOf({ images }: RepositoryUsage, { image }: TestImage): Record<string, number | boolean> {
  const { total, unique, freed, missing, isMounted } = images.find((each) => each.image === image) as ImageUsage;
  return { total: total.objects, unique: unique.objects, freed: freed.objects, missing, isMounted };
}

const plain = { missing: 0, isMounted: false };

describe('repositoryUsage()', () => {
  test('divides the objects of images into unique and shared ones', async () => {
    const a = fixture.image(10);
    const b = fixture.image(5, digestsOf(a));
    const c = fixture.image(3);
    for (const image of [a, b, c]) await registerImage(repository, image, false);
    fixture.image(2);
    const result = await usage();
    expect(countsOf(result, a)).toEqual({ total: 10, unique: 0, freed: 0, ...plain });
    expect(countsOf(result, b)).toEqual({ total: 15, unique: 5, freed: 5, ...plain });
    expect(countsOf(result, c)).toEqual({ total: 3, unique: 3, freed: 3, ...plain });
    expect(result).toMatchObject({
      together: { objects: 18, bytes: 3600 },
      leased: { objects: 0 },
      unused: { objects: 2, bytes: 400 },
      problems: [],
    });
  });

  test('reports as freed exactly what gc deletes after the image was unregistered', async () => {
    const a = fixture.image(7);
    const b = fixture.image(4, digestsOf(a).slice(0, 3));
    const mounted = fixture.image(2, digestsOf(a).slice(2, 5));
    for (const image of [a, b]) await registerImage(repository, image, false);
    const end = await lease(mounted);
    const { images, leased } = await usage();
    expect(leased.objects).toBe(2);
    const { freed, unique } = images.find(({ image }) => image === a.image) as ImageUsage;
    expect({ unique: unique.objects, freed: freed.objects }).toEqual({ unique: 4, freed: 2 });
    unregisterImage(repository, a.image);
    expect((await fixture.gc()).freed).toEqual(freed);
    end();
  });

  test('frees nothing of an image that is mounted itself', async () => {
    const image = fixture.image(4);
    await registerImage(repository, image, false);
    const end = await lease(image);
    expect(countsOf(await usage(), image)).toEqual({ total: 4, unique: 4, freed: 0, missing: 0, isMounted: true });
    end();
    expect(countsOf(await usage(), image)).toEqual({ total: 4, unique: 4, freed: 4, ...plain });
  });

  test('counts an image that was packed without registration, as long as it is young', async () => {
    const image = fixture.image(4);
    await keepForAWhile(repository, image, false);
    expect(await usage()).toMatchObject({ images: [], leased: { objects: 4 }, unused: { objects: 0 } });
    expect(await usage(0)).toMatchObject({ images: [], leased: { objects: 0 }, unused: { objects: 4 } });
  });

  test('does not count a lease that no mount holds, or that is not written yet', async () => {
    const [dead, unwritten] = [fixture.image(4), fixture.image(3)];
    const taken = await takeLease(repository, dead.image);
    await writeLease(taken, dead);
    taken.release();
    closeSync(taken.fd);
    const other = await takeLease(repository, unwritten.image);
    expect(await usage()).toMatchObject({ leased: { objects: 0 }, unused: { objects: 7 }, problems: [] });
    await writeLease(other, unwritten);
    other.release();
    expect(await usage()).toMatchObject({ leased: { objects: 3 }, unused: { objects: 4 }, problems: [] });
    endLease(repository, other);
  });

  test('counts missing objects, and sizes as they are', async () => {
    const image = fixture.image(5);
    await registerImage(repository, image, false);
    const [first, second] = digestsOf(image).map((digest) => repository.objectPath(digest)) as [string, string];
    rmSync(first);
    renameSync(second, `${second}-away`);
    const third = repository.objectPath(digestsOf(image)[2] as Uint8Array);
    chmodSync(third, 0o644);
    truncateSync(third, 1 << 20);
    const result = await usage();
    expect(countsOf(result, image)).toEqual({ total: 3, unique: 3, freed: 3, missing: 2, isMounted: false });
    const [found] = result.images;
    expect(found?.total.bytes).toBe(400 + (1 << 20));
    expect(found?.total.diskBytes).toBeLessThan(1 << 20); // it is sparse
  });

  test('reports a list that cannot be read, and counts the others', async () => {
    const [bad, good] = [fixture.image(3), fixture.image(2)];
    for (const image of [bad, good]) await registerImage(repository, image, false);
    writeFileSync(join(repository.path, 'roots', bad.image), 'no list');
    const { images, problems, unused } = await usage();
    expect(images.map(({ image }) => image)).toEqual([good.image]);
    expect(problems).toEqual([{ image: bad.image, problem: expect.stringContaining('is malformed') }]);
    expect(unused.objects).toBe(3);
  });

  test('is correct for many images with random objects', async () => {
    const objects = digestsOf(fixture.image(300));
    const images = Array.from({ length: 20 }, (_, i) =>
      fixture.image(
        i % 3,
        objects.filter((digest) => ((digest[0] as number) * 7 + (digest[1] as number) * 13) % 20 <= i / 2),
      ),
    );
    for (const image of images) await registerImage(repository, image, false);
    const needing = new Map<string, number>();
    for (const image of images) {
      for (const digest of digestsOf(image)) {
        const name = Buffer.from(digest).toString('hex');
        needing.set(name, (needing.get(name) ?? 0) + 1);
      }
    }
    const result = await usage();
    for (const image of images) {
      const own = digestsOf(image);
      const unique = own.filter((digest) => needing.get(Buffer.from(digest).toString('hex')) === 1).length;
      expect(countsOf(result, image)).toEqual({ total: own.length, unique, freed: unique, ...plain });
    }
    expect(result.together.objects).toBe(needing.size);
  });

  test('stops when it is asked to', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(repositoryUsage(repository, { minAgeMs: 0, signal })).rejects.toThrow('enough');
  });
});
