import { describe, expect, test } from 'vitest';
import { fioArguments, parseFio } from '../../../bench/fio.ts';
import { CfsError } from '../../../src/base/error.ts';

const output = (error: number): string =>
  JSON.stringify({ jobs: [{ error, read: { runtime: 250, total_ios: 256, io_bytes: 268_435_456 } }] });

describe('parseFio()', () => {
  test('returns time, reads and bytes', () => {
    expect(parseFio(output(0))).toEqual({ ns: 250_000_000, count: 256, bytes: 268_435_456 });
  });

  test('counts less than a millisecond as one', () => {
    expect(parseFio(output(0).replace('"runtime":250', '"runtime":0')).ns).toBe(1_000_000);
  });

  test('returns the writes of a job that writes', () => {
    const none = { runtime: 0, total_ios: 0, io_bytes: 0 };
    const write = { runtime: 20, total_ios: 3, io_bytes: 12_288 };
    const text = JSON.stringify({ jobs: [{ error: 0, read: none, write }] });
    expect(parseFio(text)).toEqual({ ns: 20_000_000, count: 3, bytes: 12_288 });
  });

  test('ignores messages before the object', () => {
    expect(parseFio(`fio: a note {about} something\n${output(0)}`).count).toBe(256);
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

test('fioArguments() lets a job write that changes a file', () => {
  const args = fioArguments('/f', { engine: 'psync', pattern: 'randwrite', block: 4096, bytes: 8192 });
  expect(args).toEqual(expect.arrayContaining(['--ioengine=psync', '--rw=randwrite', '--overwrite=1']));
  expect(args).not.toContain('--readonly');
});
