import { expect, test } from 'vitest';
import { wholeMode } from '../../../src/mount/contents.ts';

test('wholeMode() uses fs-verity only for objects that are named by its digests', () => {
  expect(wholeMode('auto', 'fsverity-sha256')).toBe('auto');
  expect(wholeMode('auto', 'blake3')).toBe('open');
  for (const mode of ['open', 'fsverity', 'off'] as const) expect(wholeMode(mode, 'blake3')).toBe(mode);
});
