import { expect, test } from 'vitest';
import { isCtimeSettled } from '../../../src/base/settled-ctime.ts';

const SECOND = 1_700_000_000_000;

test.each([
  ['a time with a fraction', SECOND + 0.000_25, 49, 51],
  ['a time with milliseconds', SECOND + 999, 49, 51],
  ['whole seconds', SECOND, 2_049, 2_051],
  ['whole seconds before 1970', -SECOND, 2_049, 2_051],
])('%s is trusted after a while', (_what, ctime, early, late) => {
  expect(isCtimeSettled(ctime, ctime + early)).toBe(false);
  expect(isCtimeSettled(ctime, ctime + late)).toBe(true);
});

test('a time in the future is not trusted, by whatever clock it was set', () => {
  for (const ctime of [SECOND, SECOND + 0.5]) expect(isCtimeSettled(ctime, ctime - 10_000)).toBe(false);
});
