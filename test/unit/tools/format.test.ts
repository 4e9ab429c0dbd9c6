import { describe, expect, test } from 'vitest';
import { formatBytes, formatCount, formatDuration } from '../../../tools/format.ts';

describe('formatBytes()', () => {
  test.each([
    [0, '0 B'],
    [1, '1 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [1234, '1.2 kB'],
    [99_900, '99.9 kB'],
    [99_960, '100 kB'],
    [123_456, '123 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [1e9, '1.0 GB'],
    [1.5e12, '1.5 TB'],
    [5e15, '5.0 PB'],
    [5e18, '5000 PB'],
  ])('%d is %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('never shows more than four digits, or 1000 of a unit that has a larger one', () => {
    for (let bytes = 1; bytes < 9e14; bytes = Math.ceil(bytes * 1.0007)) {
      expect(formatBytes(bytes)).toMatch(/^(\d{1,3}|\d{1,2}\.\d) (B|kB|MB|GB|TB)$/);
    }
  });
});

describe('formatDuration()', () => {
  test.each([
    [0, '0.00 s'],
    [4, '0.00 s'],
    [420, '0.42 s'],
    [9_990, '9.99 s'],
    [12_000, '12 s'],
    [12_600, '13 s'],
    [59_400, '59 s'],
    [60_000, '1 min 0 s'],
    [185_000, '3 min 5 s'],
    [3_600_000, '60 min 0 s'],
  ])('%d ms is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  test.each([
    [9_996, '10 s'],
    [59_700, '1 min 0 s'],
    [119_600, '2 min 0 s'],
  ])('%d ms, rounded into the next form, is %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});

describe('formatCount()', () => {
  test.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [1_234_567, '1,234,567'],
  ])('%d is %s', (n, text) => {
    expect(formatCount(n)).toBe(text);
  });
});
