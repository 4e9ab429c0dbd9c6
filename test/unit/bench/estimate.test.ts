import { expect, test } from 'vitest';
import { estimate, roughly } from '../../../bench/estimate.ts';
import { WORKLOADS } from '../../../bench/workloads.ts';

const extent = { kind: 'source', workloads: WORKLOADS, systems: 10, rounds: 3, timeLimit: 60 } as const;

test('estimate() agrees with the duration of the committed results: about half an hour', () => {
  const seconds = estimate({ ...extent, entries: 14_243, states: ['cold', 'dropped', 'warm'] });
  expect(seconds).toBeGreaterThan(15 * 60);
  expect(seconds).toBeLessThan(45 * 60);
});

test('estimate() counts the existing states, and respects the time limit', () => {
  const warm = estimate({ ...extent, entries: 1000, states: ['warm'] });
  expect(warm).toBeLessThan(estimate({ ...extent, entries: 1000, states: ['cold', 'dropped', 'warm'] }) / 2);
  const limited = estimate({ ...extent, rounds: 100, entries: 14_243, states: ['warm'] });
  expect(limited).toBeLessThan(
    2 * estimate({ ...extent, rounds: 100, timeLimit: 30, entries: 14_243, states: ['warm'] }),
  );
});

test.each([
  [20, 'a minute'],
  [1700, '28 minutes'],
  [11_000, '3 hours'],
])('roughly(%i) is "%s"', (seconds, text) => {
  expect(roughly(seconds)).toBe(text);
});
