import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PackProgress } from '../../../src/pack/pack-settings.ts';
import { ProgressLine, progressText } from '../../../tools/progress.ts';

const progress = (more: Partial<PackProgress>): PackProgress => ({
  entries: 1000,
  files: 100,
  bytes: 0,
  filesDone: 0,
  bytesDone: 0,
  scanned: true,
  ...more,
});

describe('progressText()', () => {
  test('shows bar, rates and time left once the tree is known', () => {
    expect(progressText(progress({ filesDone: 50, bytes: 2e6, bytesDone: 1e6 }), 10_000)).toBe(
      '[############............] 50%  5 files/s  100 kB/s  10 s left',
    );
  });

  test('shows the entries found so far while the tree is being read', () => {
    expect(progressText(progress({ scanned: false, entries: 12_345, filesDone: 6_000, bytesDone: 5e9 }), 2000)).toBe(
      '12,345 entries found, 6,000 files (5.0 GB) packed  3,000 files/s  2.5 GB/s',
    );
  });

  test('weights many small files and one large file by their cost', () => {
    // one file of 1 GB beside 99 empty ones: when the empty ones are done, most is still to do
    const text = progressText(progress({ filesDone: 99, bytes: 1e9, bytesDone: 0 }), 1000);
    expect(text).toContain('] 0%');
    expect(progressText(progress({ files: 1000, filesDone: 999 }), 1000)).toContain('] 99%');
  });

  test('has an empty bar and no time left before anything is done', () => {
    const text = progressText(progress({ bytes: 100 }), 5000);
    expect(text.trimEnd()).toBe('[........................] 0%  0 files/s  0 B/s');
  });

  test('is full at the end, also for a tree without files', () => {
    const full = '[########################] 100%';
    expect(progressText(progress({ filesDone: 100 }), 5000)).toContain(full);
    expect(progressText(progress({ filesDone: 100 }), 5000)).toContain('0.00 s left');
    expect(progressText(progress({ files: 0 }), 5000)).toContain(full);
  });

  test('shows no infinity if no time has passed', () => {
    expect(progressText(progress({ filesDone: 1 }), 0)).not.toMatch(/Infinity|NaN/);
  });
});

describe('ProgressLine', () => {
  let written: string;

  beforeEach(() => {
    written = '';
    vi.useFakeTimers();
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      written += String(text);
      return true;
    });
  });

  afterEach(() => {
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
    vi.useRealTimers();
    setTerminal(undefined);
  });

  function setTerminal(isTTY: boolean | undefined, columns = 80): void {
    Object.defineProperty(process.stderr, 'isTTY', { value: isTTY, configurable: true });
    Object.defineProperty(process.stderr, 'columns', { value: columns, configurable: true });
  }

  test('writes nothing if stderr is not a terminal', () => {
    setTerminal(undefined);
    const line = new ProgressLine(true);
    vi.advanceTimersByTime(5000);
    line.update(progress({}));
    line.end();
    expect(written).toBe('');
  });

  test('writes nothing if it is not wanted', () => {
    setTerminal(true);
    const line = new ProgressLine(false);
    vi.advanceTimersByTime(5000);
    line.update(progress({}));
    line.end();
    expect(written).toBe('');
  });

  test('writes nothing for work that takes less than a second', () => {
    setTerminal(true);
    const line = new ProgressLine(true);
    vi.advanceTimersByTime(999);
    line.update(progress({}));
    line.end();
    expect(written).toBe('');
  });

  test('overwrites itself, at most ten times a second, and clears the line at the end', () => {
    setTerminal(true);
    const line = new ProgressLine(true);
    vi.advanceTimersByTime(1000);
    for (let ms = 0; ms < 1000; ms++) {
      line.update(progress({ filesDone: 1 }));
      vi.advanceTimersByTime(1);
    }
    line.end();
    const drawn = written.split('\r\x1b[K');
    expect(drawn[0]).toBe('');
    expect(drawn.at(-1)).toBe('');
    expect(drawn).toHaveLength(10 + 2);
    expect(written).not.toContain('\n');
  });

  test('clears only its own output, and only once', () => {
    setTerminal(true);
    const line = new ProgressLine(true);
    line.end();
    expect(written).toBe('');
    vi.advanceTimersByTime(1500);
    line.update(progress({}));
    line.end();
    const length = written.length;
    line.end();
    expect(written).toHaveLength(length);
  });

  test.each([40, 100, 1])('fits into a terminal of %i columns, but shows at least 20', (columns) => {
    setTerminal(true, columns);
    const line = new ProgressLine(true);
    vi.advanceTimersByTime(1500);
    line.update(progress({ scanned: false, entries: 123_456_789, filesDone: 123_456_789 }));
    const shown = written.replace('\r\x1b[K', '');
    expect(shown.length).toBeLessThanOrEqual(Math.max(20, columns - 1));
    expect(shown.length).toBeGreaterThanOrEqual(20);
  });
});
