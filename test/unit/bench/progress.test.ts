import { expect, test, vi } from 'vitest';
import { Progress } from '../../../bench/progress.ts';

function shown(columns: number | undefined, ...texts: readonly string[]): string {
  let all = '';
  const progress = new Progress((text) => {
    all += text;
  }, columns);
  for (const text of texts) progress.show(text);
  progress.end();
  return all;
}

test('Progress writes one line for each step if there is no terminal', () => {
  expect(shown(undefined, 'ls, cold: cfs, warm-up', 'ls, cold: cfs, round 1', 'ls, warm: cfs, warm-up')).toBe(
    '0:00 ls, cold\n0:00 ls, warm\n',
  );
});

test('Progress overwrites its line on a terminal, and is no longer than the terminal is wide', () => {
  expect(shown(12, 'a long text about it')).toBe('\r\x1b[K0:00 a long\r\x1b[K');
});

test('Progress shows that a long step continues', () => {
  vi.useFakeTimers({ now: 0 });
  try {
    for (const [columns, ms] of [
      [80, 2000],
      [undefined, 40_000],
    ] as const) {
      const written: string[] = [];
      const progress = new Progress((text) => written.push(text), columns);
      progress.show('packing: first');
      vi.advanceTimersByTime(ms);
      progress.say('one tree');
      progress.end();
      vi.advanceTimersByTime(ms);
      expect(written).toEqual(
        columns === undefined
          ? ['0:00 packing\n', '0:20 packing: first\n', '0:40 packing: first\n', '0:40 one tree\n']
          : [
              ...['0:00', '0:01', '0:02'].map((clock) => `\r\x1b[K${clock} packing: first`),
              '\r\x1b[K',
              '0:02 one tree\n',
              '\r\x1b[K',
            ],
      );
    }
  } finally {
    vi.useRealTimers();
  }
});
