import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeIdentity, encodeIdentity } from '../../../src/layered/layer-xattrs.ts';

test('an identity is 12 bytes, the id first', () => {
  expect(Buffer.from(encodeIdentity({ id: 0x5_1234_5678_9abc, generation: 7 })).toString('hex')).toBe(
    'bc9a7856341205000700' + '0000',
  );
});

test('an identity is read as it was written', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 2 ** 52 - 1 }), fc.nat(0xffff_ffff), (id, generation) => {
      expect(decodeIdentity(encodeIdentity({ id, generation }))).toEqual({ id, generation });
    }),
  );
});

test('other bytes are none', () => {
  for (const bytes of [[], [1], new Array<number>(12).fill(255), new Array<number>(12).fill(0)]) {
    expect(decodeIdentity(Uint8Array.from(bytes))).toBeUndefined();
  }
});
