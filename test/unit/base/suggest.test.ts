import { expect, test } from 'vitest';
import { suggestion } from '../../../src/base/suggest.ts';

test.each([
  ['verfy', ['verify', 'driver', 'digest'], ' (did you mean verify?)'],
  ['sttat', ['stat', 'stats', 'where'], ' (did you mean stat?)'],
  // two letters swapped
  ['nodve', ['nodev', 'noexec'], ' (did you mean nodev?)'],
  ['sta', ['stat', 'stats', 'sti'], ' (did you mean stat or sti?)'],
  ['remount', ['repo', 'restart'], ''],
  ['x', ['verify'], ''],
  ['', ['verify'], ''],
])('%s among %j', (word, known, expected) => {
  expect(suggestion(word, known)).toBe(expected);
});
