/** What a mount knows of objects in remote repositories. */
import { expect, test } from 'vitest';
import { allocateOrigins, ObjectOrigins, remoteKnowledge } from '../../../src/mount/object-origins.ts';
import { ALONE, type ObjectMap } from '../../../src/remote/map-format.ts';

const OBJECTS = 3;
const options = { addresses: ['https://a/|https://b/', 'https://c/'], insecure: false, cache: '/var/cache/cfs' };
const begin = () => {
  const servers = ['https://a/', 'https://b/', 'https://c/'];
  return { options, servers, origins: allocateOrigins(OBJECTS, options.addresses.length) };
};
const mapOf = (...frameOf: readonly number[]): ObjectMap => ({ frameOf: Uint32Array.from(frameOf) }) as ObjectMap;
const placesOf = (remote: ReturnType<typeof begin>, row: number) =>
  remoteKnowledge(remote, 2, row).repositories.map(({ map, place }) => [map, place]);

test('nothing is known at first', () => {
  const remote = begin();
  for (let row = 0; row < OBJECTS; row++) {
    expect(remoteKnowledge(remote, 2, row)).toEqual({
      cache: 2,
      repositories: options.addresses.map((url) => ({ url, map: 'unknown' })),
    });
  }
});

test('a map says where all objects are', () => {
  const remote = begin();
  new ObjectOrigins(remote).foundMap(0, mapOf(5, ALONE, 0));
  expect([0, 1, 2].map((row) => placesOf(remote, row)[0])).toEqual([
    ['known', 'pack'],
    ['known', 'file'],
    ['known', 'pack'],
  ]);
  expect(placesOf(remote, 0)[1]).toEqual(['unknown', undefined]);
});

test('without a map, an object is known to be a file when it came', () => {
  const remote = begin();
  const known = new ObjectOrigins(remote);
  known.foundMap(1, undefined);
  expect(placesOf(remote, 2)[1]).toEqual(['none', undefined]);
  known.stored(1, 2, 2);
  expect(placesOf(remote, 2)[1]).toEqual(['none', 'file']);
  expect(remoteKnowledge(remote, 2, 2).from).toBe('https://c/');
  expect(remoteKnowledge(remote, 2, 1)).not.toHaveProperty('from');
});

test('what was not there is absent, until it comes or a map is found', () => {
  const remote = begin();
  const known = new ObjectOrigins(remote);
  known.foundMap(0, undefined);
  for (const row of [0, 1]) known.absent(0, row);
  expect(placesOf(remote, 0)[0]).toEqual(['none', 'absent']);
  known.stored(0, 0, 1);
  expect(placesOf(remote, 0)[0]).toEqual(['none', 'file']);
  known.foundMap(0, mapOf(0, 0, 0));
  expect(placesOf(remote, 1)[0]).toEqual(['known', 'pack']);
  // a pack may be gone, and back
  known.absent(0, 1);
  expect(placesOf(remote, 1)[0]).toEqual(['known', 'absent']);
  known.stored(0, 1, 0);
  expect(placesOf(remote, 1)[0]).toEqual(['known', 'pack']);
});

test('a number of a server that does not fit is not reported', () => {
  const remote = begin();
  const known = new ObjectOrigins(remote);
  for (const server of [254, 255, 1000]) {
    known.stored(0, 0, server);
    expect(known.serverOf(0)).toBeUndefined();
  }
  known.stored(0, 0, 253);
  expect(known.serverOf(0)).toBe(253);
});
