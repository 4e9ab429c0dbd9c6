import { describe, expect, test } from 'vitest';
import { MOST_OPEN_FILES, planOpenFiles } from '../../../src/pack/open-files-plan.ts';

const DEPTH = 3;

describe('planOpenFiles()', () => {
  test('uses the fastest settings if there is room', () => {
    for (const limit of [16_384, Number.POSITIVE_INFINITY]) {
      expect(planOpenFiles(limit, 8, DEPTH)).toEqual({ threads: 8, ...MOST_OPEN_FILES });
    }
  });

  test('stays within the limit, and uses every thread that has room', () => {
    for (let limit = 70; limit < 6000; limit += 7) {
      for (const threads of [1, 2, 8, 64]) {
        const plan = planOpenFiles(limit, threads, DEPTH);
        const { batchFiles, sourceDirectories, storeDirectories } = plan;
        const files =
          sourceDirectories + plan.threads * (10 + storeDirectories) + batchFiles * (plan.threads * DEPTH + 1);
        expect(files).toBeLessThanOrEqual(limit - 40);
        expect(Math.min(plan.threads, batchFiles, storeDirectories)).toBeGreaterThanOrEqual(1);
        if (limit > 1000) expect(plan.threads).toBeGreaterThanOrEqual(Math.min(threads, 8));
      }
    }
  });

  test('reports the requirement if it cannot be met', () => {
    expect(() => planOpenFiles(60, 4, DEPTH)).toThrow(/may have 60 files open, and needs \d+$/);
  });
});
