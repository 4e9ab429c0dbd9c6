/** A progress line on stderr, for a terminal only, and only for work that takes more than a second. */
import type { PackProgress } from '../src/pack/pack-settings.ts';
import { formatBytes, formatCounted, formatDuration } from './format.ts';
import { isQuiet } from './quiet.ts';

const SHOW_AFTER_MS = 1000;
const REDRAW_MS = 100;
const BAR_WIDTH = 24;

export class ProgressLine {
  readonly #start = Date.now();
  #last = 0;
  #shown = false;
  readonly #enabled: boolean;

  constructor(enabled: boolean) {
    this.#enabled = enabled && !isQuiet() && process.stderr.isTTY === true;
  }

  /** Redraws at most ten times a second. */
  update(progress: PackProgress): void {
    this.draw((elapsedMs) => progressText(progress, elapsedMs));
  }

  /** As `update`, with any text. */
  draw(text: (elapsedMs: number) => string): void {
    if (!this.#enabled) return;
    const now = Date.now();
    if (now - this.#start < SHOW_AFTER_MS || now - this.#last < REDRAW_MS) return;
    this.#last = now;
    this.#shown = true;
    const line = text(now - this.#start);
    process.stderr.write(`\r\x1b[K${line.slice(0, Math.max(20, (process.stderr.columns || 80) - 1))}`);
  }

  /** Clears the line. */
  end(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}

/**
 * "[######......] 40%  1,200 files/s  80 MB/s  12 s left". While the tree is still being read its size is unknown: then
 * the numbers found so far replace bar and time.
 */
export function progressText(progress: PackProgress, elapsedMs: number): string {
  const seconds = Math.max(elapsedMs / 1000, 0.001);
  const filesRate = `${Math.round(progress.filesDone / seconds).toLocaleString('en')} files/s`;
  const bytesRate = `${formatBytes(progress.bytesDone / seconds)}/s`;
  if (!progress.scanned) {
    return `${formatCounted(progress.entries, 'entry', 'entries')} found, ${formatCounted(progress.filesDone, 'file')} (${formatBytes(progress.bytesDone)}) packed  ${filesRate}  ${bytesRate}`;
  }
  // a file costs about as much as 64 KiB of content
  const weight = (files: number, bytes: number): number => files * 65536 + bytes;
  const all = weight(progress.files, progress.bytes);
  const fraction = all === 0 ? 1 : weight(progress.filesDone, progress.bytesDone) / all;
  return progressBar(fraction, `${filesRate}  ${bytesRate}`, elapsedMs);
}

/** "[######......] 40%  RATES  12 s left" */
export function progressBar(fraction: number, rates: string, elapsedMs: number): string {
  const filled = Math.round(fraction * BAR_WIDTH);
  const bar = '#'.repeat(filled) + '.'.repeat(BAR_WIDTH - filled);
  const left = fraction > 0 ? `${formatDuration((elapsedMs * (1 - fraction)) / fraction)} left` : '';
  return `[${bar}] ${Math.floor(fraction * 100)}%  ${rates}  ${left}`;
}
