/** What a mount has fetched, by server. */
import { expect, test } from 'vitest';
import { allocateFetchCounters, FetchCounters, fetchStatistics } from '../../../src/mount/fetch-counters.ts';

test('counts belong to the servers of one address after those of others', () => {
  const memory = allocateFetchCounters(3);
  const counters = new FetchCounters(memory);
  const second = counters.observer(1);
  second.failed(0);
  second.retried(0);
  second.gave(1, 500, true);
  counters.stored(2, 70);
  counters.stored(2, 7);
  counters.failed();
  const none = { requests: 0, bytes: 0, failures: 0, failovers: 0, retries: 0, objects: 0, objectBytes: 0 };
  const served = { servers: ['a', 'b', 'c'], counters: memory };
  expect(fetchStatistics({ ...served, options: { prefetch: 'off' } }, 9)).toEqual({
    objects: 2,
    bytes: 77,
    failed: 1,
    hits: 9,
    servers: [
      { ...none, url: 'a' },
      { ...none, url: 'b', failures: 1, retries: 1 },
      { ...none, url: 'c', requests: 1, bytes: 500, failovers: 1, objects: 2, objectBytes: 77 },
    ],
  });
  expect(fetchStatistics({ ...served, options: {} }, 9).prefetch).toEqual({
    mode: 'hot',
    state: 'looking',
    objects: 0,
    bytes: 0,
    allObjects: 0,
    allBytes: 0,
  });
  counters.prefetchState('waiting');
  counters.prefetchTotal(5, 500);
  counters.prefetchThere(100);
  expect(fetchStatistics({ ...served, options: { prefetch: 'all' } }, 9).prefetch).toEqual({
    mode: 'all',
    state: 'waiting',
    objects: 1,
    bytes: 100,
    allObjects: 5,
    allBytes: 500,
  });
});
