import { expect, test } from 'vitest';
import { painter } from '../../../tools/color.ts';
import { usageBar } from '../../../tools/usage-bar.ts';

const RED = '\x1b[31mx\x1b[39m';

test.each([
  ['auto', true, {}, RED],
  ['auto', false, {}, 'x'],
  ['auto', true, { NO_COLOR: '1' }, 'x'],
  ['auto', true, { NO_COLOR: '' }, RED],
  ['auto', true, { TERM: 'dumb' }, 'x'],
  ['always', false, { NO_COLOR: '1' }, RED],
  ['never', true, {}, 'x'],
] as const)('--color=%s, on a terminal: %s, with %j', (when, isTerminal, environment, expected) => {
  expect(painter(when, isTerminal, environment)('red', 'x')).toBe(expected);
});

const plain = painter('never');

test('usageBar() is drawn on a terminal that is wide enough, as wide as there is space', () => {
  expect(usageBar(40, 30, plain, 0)).toBeUndefined();
  expect(usageBar(60, 30, plain, 80)).toBeUndefined();
  expect(usageBar(56, 30, plain, 80)?.head).toHaveLength(10);
  const wide = usageBar(40, 30, plain, 200);
  expect(wide?.head).toBe('# unique . shared         ');
});

test('usageBar() draws lengths in proportion, and nothing for nothing', () => {
  const bar = usageBar(0, 0, plain, 24 + 4);
  const drawn = (unique: number, bytes: number): string | undefined => bar?.draw(unique, bytes, 240).trimEnd();
  expect(drawn(120, 240)).toBe('############............');
  expect(drawn(0, 60)).toBe('......');
  expect(drawn(240, 240)).toBe('########################');
  expect(drawn(1, 240)).toBe('#.......................');
  expect(drawn(0, 0)).toBe('');
  expect(bar?.draw(0, 0, 0)).toHaveLength(26);
  expect(bar?.draw(100, 200, 240)).toHaveLength(26);
});
