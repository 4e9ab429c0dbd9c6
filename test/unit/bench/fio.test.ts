import { describe, expect, test } from 'vitest';
import { fioArguments, parseFio } from '../../../bench/fio.ts';
import { CfsError } from '../../../src/base/error.ts';

const output = (error: number): string =>
  JSON.stringify({ jobs: [{ error, read: { runtime: 250, total_ios: 256, io_bytes: 268_435_456 } }] });

describe('parseFio()', () => {
  test('returns time, reads and bytes', () => {
    expect(parseFio(output(0))).toEqual({ ns: 250_000_000, reads: 256, bytes: 268_435_456 });
  });

  test('counts less than a millisecond as one', () => {
    expect(parseFio(output(0).replace('"runtime":250', '"runtime":0')).ns).toBe(1_000_000);
  });

  test('ignores messages before the object', () => {
    expect(parseFio(`fio: a note {about} something\n${output(0)}`).reads).toBe(256);
  });

  test.each(['', 'no JSON', '{"jobs":[]}', output(5)])('refuses %j', (text) => {
    expect(() => parseFio(text)).toThrow(CfsError);
  });
});

test('fioArguments() keeps the page cache, and escapes the separators of fio', () => {
  const args = fioArguments('/a:b/large', { engine: 'mmap', pattern: 'randread', block: 4096, bytes: 8192 });
  expect(args).toContain('--filename=/a\\:b/large');
  expect(args).toEqual(expect.arrayContaining(['--invalidate=0', '--readonly', '--bs=4096', '--io_size=8192']));
});
