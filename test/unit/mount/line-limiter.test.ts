import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { LineLimiter } from '../../../src/mount/line-limiter.ts';

let written: string[];
let limiter: LineLimiter;

beforeEach(() => {
  vi.useFakeTimers();
  written = [];
  limiter = new LineLimiter((line, severity) => void written.push(`${severity} ${line}`));
});

afterEach(() => {
  vi.useRealTimers();
});

const many = (count: number): void => {
  for (let i = 0; i < count; i++) limiter.line(`line ${i}`);
};

test('a hundred lines may come at once; one line a second reports the number of the others', () => {
  many(1_334);
  expect(written).toHaveLength(100);
  vi.advanceTimersByTime(1_000);
  expect(written.slice(100)).toEqual(['warning … 1,234 more like this']);
  vi.advanceTimersByTime(60_000);
  expect(written).toHaveLength(101);
  expect(vi.getTimerCount()).toBe(0);
});

test('writes a few lines a second, for any number of lines', () => {
  many(200);
  for (let second = 0; second < 60; second++) {
    vi.advanceTimersByTime(1_000);
    many(1_000);
  }
  expect(written.length).toBeLessThan(100 + 60 * 7);
  limiter.flush();
  const told = written.flatMap((line) => /… ([\d,]+) more/.exec(line)?.[1] ?? []);
  const leftOut = told.reduce((sum, count) => sum + Number(count.replaceAll(',', '')), 0);
  expect(leftOut + written.length - told.length).toBe(60_200);
});

test('the number of omitted lines is reported before the next line', () => {
  many(101);
  vi.advanceTimersByTime(500);
  limiter.line('next', 'error');
  expect(written.slice(-2)).toEqual(['warning … 1 more like this', 'error next']);
});

test('a very long line is cut in the middle', () => {
  limiter.line(`begin${'x'.repeat(500_000)}end`);
  expect(written[0]?.length).toBe(4_096 + 'warning '.length);
  expect(written[0]).toMatch(/^warning begin.*….*end$/);
});

test('a clock that is set back lets no more lines through', () => {
  many(150);
  vi.setSystemTime(Date.now() - 3_600_000);
  many(150);
  expect(written).toHaveLength(100);
});
