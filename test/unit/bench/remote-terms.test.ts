import { describe, expect, test } from 'vitest';
import type { Result } from '../../../bench/contract.ts';
import { judge, ratioOf } from '../../../bench/remote-terms.ts';
import { trafficIn } from '../../../bench/web-server.ts';

const result = (system: string, ...samples: readonly number[]): Result => ({
  ...{ workload: 'remote-pull', title: 'full pull', tree: 'source', state: 'cold' },
  ...{ system, work: { count: 1, unit: 'objects', bytes: 0 }, samples },
});

describe('judge()', () => {
  test('states a figure, its goal, and whether it was reached', () => {
    const of = { figure: 'x', text: 'ratio' };
    expect(judge({ ...of, value: 0.254 })).toBe('ratio: 0.25');
    expect(judge({ ...of, value: 0.3, goal: { kind: 'at most', limit: 0.3 } })).toBe(
      'ratio: 0.3 (goal: at most 0.3): reached',
    );
    const more: [number, string] = [12_345.6, 'ratio: 12,346 (goal: at least 20,000): **not reached**'];
    expect(judge({ ...of, value: more[0], goal: { kind: 'at least', limit: 20_000 } })).toBe(more[1]);
  });
});

describe('ratioOf()', () => {
  test('divides medians', () => {
    const results = [result('cfs', 1, 9, 2), result('podman pull', 5, 4, 3)];
    expect(ratioOf(results, 'cfs', 'podman pull')).toBe(0.5);
  });

  test('is undefined without samples', () => {
    expect(ratioOf([result('cfs', 1), result('rsync')], 'cfs', 'rsync')).toBeUndefined();
    expect(ratioOf([result('cfs', 1)], 'cfs', 'skopeo')).toBeUndefined();
  });
});

describe('trafficIn()', () => {
  test('adds up the answers in a log', () => {
    expect(trafficIn('200 150 /a\n206 1000 /packs/x y\n')).toEqual({ requests: 2, bytes: 1150 });
    expect(trafficIn('')).toEqual({ requests: 0, bytes: 0 });
  });
});
