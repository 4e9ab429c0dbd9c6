/** Bars of unique and shared bytes, on a terminal that is wide enough. */
import type { Paint } from './color.ts';

const WIDEST = 24;
/** Below this a bar shows nothing. */
const NARROWEST = 6;
/** Columns that the text behind the bar has, if it needs them. */
const TEXT = 12;

const LEGEND = '# unique . shared';

export interface UsageBar {
  /** As wide as a bar and the gap after it. */
  readonly head: string;
  /** As long as `bytes` compared with `largest`; its first part is `unique`. With the gap after it. */
  draw(unique: number, bytes: number, largest: number): string;
}

/**
 * @param before columns of the table before the bar
 * @param after columns of the text behind it
 * @param columns of the terminal; 0 if it is none
 * @returns undefined if there is no terminal, or no space
 */
export function usageBar(
  before: number,
  after: number,
  paint: Paint,
  columns: number = process.stdout.isTTY ? process.stdout.columns || 80 : 0,
): UsageBar | undefined {
  const width = Math.min(WIDEST, columns - before - 4 - Math.min(after, TEXT));
  if (width < NARROWEST) return undefined;
  const part = (bytes: number, all: number): number => (all === 0 ? 0 : Math.round((bytes / all) * width));
  return {
    head: `${(LEGEND.length > width ? '' : LEGEND).padEnd(width)}  `,
    draw: (unique, bytes, largest) => {
      const length = bytes === 0 ? 0 : Math.max(1, part(bytes, largest));
      // a part that is not nothing is visible, if both have a place
      const first = Math.min(length, unique === 0 ? 0 : Math.max(1, part(unique, largest)));
      const rest = length - first;
      return `${paint('cyan', '#'.repeat(first))}${paint('dim', '.'.repeat(rest))}${' '.repeat(width - length)}  `;
    },
  };
}
