import { expect, test } from 'vitest';
import { formatDiskPart, parseByteSize, parseDiskPart } from '../../../src/base/byte-size.ts';

test('sizes that people write', () => {
  const sizes = ['1', '500M', '20G', '2T', '1K'].map(parseByteSize);
  expect(sizes).toEqual([1, 500 * 1024 ** 2, 20 * 1024 ** 3, 2 * 1024 ** 4, 1024]);
  for (const text of ['', '0', '-1', '1.5G', '5X', '1k', ' 1', '9999999999999T', '10000000000000000000']) {
    expect(parseByteSize(text), text).toBeUndefined();
  }
});

test('bytes, or a part of a disk', () => {
  for (const text of ['1%', '99%', '1024']) expect(formatDiskPart(parseDiskPart(text) ?? { bytes: 0 })).toBe(text);
  expect(parseDiskPart('1G')).toEqual({ bytes: 1 << 30 });
  for (const text of ['0%', '100%', '1.5%', '%', '-1%', '10 %', 'x']) expect(parseDiskPart(text), text).toBeUndefined();
});
