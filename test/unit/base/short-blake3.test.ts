import { expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { blake3 } from '../../../src/base/digest.ts';
import { SHORT_BLAKE3_MAX, shortBlake3 } from '../../../src/base/short-blake3.ts';
import { Random } from '../../support/random.ts';

const hexOf = (input: Uint8Array): string => toHex(new Uint8Array(shortBlake3(input).slice().buffer));

test('the hash of each short input is that of the whole implementation', () => {
  const random = new Random(13);
  for (let length = 0; length <= SHORT_BLAKE3_MAX; length++) {
    const input = random.bytes(length);
    expect(hexOf(input), `${length} bytes`).toBe(toHex(blake3(input)));
  }
});

test('an empty input has the hash of the specification', () => {
  expect(hexOf(new Uint8Array())).toBe('af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262');
});

test('an input of several chunks is refused', () => {
  expect(() => shortBlake3(new Uint8Array(SHORT_BLAKE3_MAX + 1))).toThrow('1025 bytes is not short');
});
