/** Arguments of the library that would be dangerous if they were taken as they are. */
import { expect, test } from 'vitest';
import { ageGiven } from '../../../src/api/arguments.ts';

test('an age is a number of milliseconds', () => {
  expect([0, 0.5, 1e12, Number.POSITIVE_INFINITY].map(ageGiven)).toEqual([0, 0.5, 1e12, Number.POSITIVE_INFINITY]);
  for (const age of [Number.NaN, -1, undefined, '1h']) {
    expect(() => ageGiven(age as number)).toThrow('minAgeMs is a number of milliseconds, not ');
  }
});
