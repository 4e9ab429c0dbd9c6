import { expect, test } from 'vitest';
import { Progress } from '../../../tools/bench/progress.ts';

function shown(columns: number | undefined, ...texts: readonly string[]): string {
  let all = '';
  const progress = new Progress((text) => {
    all += text;
  }, columns);
  for (const text of texts) progress.show(text);
  progress.end();
  return all;
}

test('Progress writes one line for each step where there is no terminal', () => {
  expect(shown(undefined, 'ls, cold: cfs, warm-up', 'ls, cold: cfs, round 1', 'ls, warm: cfs, warm-up')).toBe(
    '0:00 ls, cold\n0:00 ls, warm\n',
  );
});

test('Progress writes over its line on a terminal, no longer than it is wide', () => {
  expect(shown(12, 'a long text about it')).toBe('\r\x1b[K0:00 a long\r\x1b[K');
});
