import { describe, expect, test } from 'vitest';
import type { Result } from '../../../bench/contract.ts';
import { median, spread, summarize, systemsIn } from '../../../bench/statistics.ts';

const result = (system: string, samples: readonly number[], workload = 'ls'): Result => ({
  workload,
  title: workload,
  tree: 'source',
  state: 'cold',
  system,
  work: { count: 1, unit: 'entries', bytes: 0 },
  samples,
});

describe('median()', () => {
  test.each([
    [[3], 3],
    [[5, 1, 3], 3],
    [[4, 1, 3, 2], 2.5],
    [[10, 9, 100], 10],
  ])('of %j is %d', (values, expected) => {
    expect(median(values)).toBe(expected);
  });
});

describe('summarize()', () => {
  test('has the ratio to each reference that was measured in the same row', () => {
    const results = [result('overlayfs', [100, 200, 300]), result('cfs', [100, 100, 400]), result('cfs', [7], 'find')];
    const [reference, own, alone] = summarize(results, ['overlayfs', 'source']);
    expect(reference?.ratios).toEqual({ overlayfs: 1 });
    expect(own).toMatchObject({ median: 100, min: 100, max: 400, ratios: { overlayfs: 0.5 } });
    expect(alone?.ratios).toEqual({});
  });

  test('keeps the samples in their order', () => {
    expect(summarize([result('cfs', [3, 1, 2])], [])[0]?.samples).toEqual([3, 1, 2]);
  });
});

test('spread() is the distance of the extremes divided by the median', () => {
  const [one] = summarize([result('cfs', [90, 100, 150])], []);
  expect(one === undefined ? undefined : spread(one)).toBeCloseTo(0.6);
});

test('systemsIn() keeps the position of a system that is missing in the first row', () => {
  const rows = [
    result('overlayfs', [1], 'mount'),
    result('cfs', [1], 'mount'),
    result('source', [1], 'ls'),
    result('overlayfs', [1], 'ls'),
    result('cfs', [1], 'ls'),
  ];
  expect(systemsIn(rows)).toEqual(['source', 'overlayfs', 'cfs']);
});
