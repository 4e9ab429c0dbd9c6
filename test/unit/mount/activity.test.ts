import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ActivityCounts, allocateActivity, BUCKETS, watchActivity } from '../../../src/mount/activity.ts';

let memory: SharedArrayBuffer;
let counts: ActivityCounts;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
  memory = allocateActivity(2);
  counts = new ActivityCounts(memory, 0);
});

afterEach(() => {
  vi.useRealTimers();
});

describe('a mount that is watched', () => {
  test('is one for a minute after it was asked', () => {
    expect(counts.isWatched).toBe(false);
    const { watch } = watchActivity(memory);
    expect(counts.isWatched).toBe(true);
    vi.advanceTimersByTime(60_000);
    counts.request(1);
    expect(counts.isWatched).toBe(true);
    expect(watchActivity(memory).watch).toBe(watch);
    vi.advanceTimersByTime(61_000);
    counts.request(1);
    expect(counts.isWatched).toBe(false);
  });

  test('begins anew when it is watched again, in each thread', () => {
    const other = new ActivityCounts(memory, 1);
    const { watch } = watchActivity(memory);
    for (const each of [counts, other]) each.request(0.01);
    counts.opened(7);
    expect(watchActivity(memory)).toMatchObject({ watch, opened: [[7, 1]] });
    vi.advanceTimersByTime(61_000);
    counts.request(1);
    const again = watchActivity(memory);
    expect(again.watch).not.toBe(watch);
    expect(again.opened).toEqual([]);
    expect(again.latency.every((n) => n === 0)).toBe(true);
    other.request(0.01);
    expect(watchActivity(memory).latency.reduce((a, b) => a + b)).toBe(1);
  });

  test.each([
    [0, 0],
    [0.0009, 0],
    [0.001, 1],
    [0.002, 2],
    [0.0039, 2],
    [0.004, 3],
    [1, 10],
    [1_000, 20],
    [16_000, 24],
    [1e9, BUCKETS - 1],
    [-1, 0],
  ])('counts a request of %d ms in bucket %d', (ms, bucket) => {
    watchActivity(memory);
    counts.request(ms);
    expect(watchActivity(memory).latency.indexOf(1)).toBe(bucket);
  });

  test('adds up the threads, and reports the files that are opened most', () => {
    watchActivity(memory);
    const other = new ActivityCounts(memory, 1);
    for (let ino = 1; ino <= 20; ino++) for (let i = 0; i < ino; i++) counts.opened(ino);
    for (let i = 0; i < 100; i++) other.opened(3);
    const { opened } = watchActivity(memory);
    expect(opened).toHaveLength(10);
    expect(opened[0]).toEqual([3, 103]);
    expect(opened[1]).toEqual([20, 20]);
  });

  test('finds files that are opened much among very many', () => {
    watchActivity(memory);
    for (let i = 0; i < 50_000; i++) {
      counts.opened(1_000 + i);
      if (i % 20 === 0) counts.opened(5);
    }
    const { opened } = watchActivity(memory);
    expect(opened[0]?.[0]).toBe(5);
    // an estimate from above
    expect(opened[0]?.[1]).toBeGreaterThanOrEqual(2_500);
  });
});

test('nothing is counted while nobody watches', () => {
  counts.request(1);
  counts.opened(1);
  expect(watchActivity(memory)).toMatchObject({ opened: [], latency: new Array(BUCKETS).fill(0) });
});
