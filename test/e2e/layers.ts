/** The two directories of a writable mount. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Scratch } from './harness.ts';

export interface Layers {
  /** The directory with both. */
  readonly base: string;
  readonly upper: string;
  readonly work: string;
  /** The words of -o that mount them. */
  readonly words: readonly string[];
}

/** New empty ones. @param more further words of -o */
export function newLayers(scratch: Scratch, ...more: readonly string[]): Layers {
  return newLayersIn(scratch.directory('layers'), ...more);
}

/** As `newLayers`, in a directory. */
export function newLayersIn(base: string, ...more: readonly string[]): Layers {
  const [upper, work] = [join(base, 'upper'), join(base, 'work')];
  for (const path of [upper, work]) mkdirSync(path);
  return { base, upper, work, words: [`upperdir=${upper}`, `workdir=${work}`, ...more] };
}
