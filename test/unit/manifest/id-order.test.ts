import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hasEqual, orderById } from '../../../src/manifest/id-order.ts';

const ids = fc.array(fc.oneof(fc.nat(20), fc.integer({ min: 0, max: 2 ** 52 - 1 })), { maxLength: 300 });

test('orderById() sorts indices as a stable sort that compares ids', () => {
  fc.assert(
    fc.property(ids, (values) => {
      const expected = [...values.keys()].sort((a, b) => (values[a] as number) - (values[b] as number));
      expect([...orderById(Float64Array.from(values))]).toEqual(expected);
    }),
  );
});

test('orderById() uses all bits of an id', () => {
  const values = Float64Array.from({ length: 53 }, (_, bit) => 2 ** (52 - bit));
  expect([...orderById(values)]).toEqual(Array.from({ length: 53 }, (_, i) => 52 - i));
});

test('hasEqual() finds ids that occur twice', () => {
  fc.assert(
    fc.property(ids, (values) => {
      const array = Float64Array.from(values);
      expect(hasEqual(array, orderById(array))).toBe(new Set(values).size < values.length);
    }),
  );
});
