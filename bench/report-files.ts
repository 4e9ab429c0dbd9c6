/** The directory of a report, beside the results file. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Results } from './collected.ts';
import { renderReport } from './report-markdown.ts';
import type { Groups } from './statistics.ts';

/** bench/results/rootfs.json → bench/results/rootfs; a name without .json gets `-report`. */
export const reportDirectory = (resultsFile: string): string =>
  resultsFile.endsWith('.json') ? resultsFile.slice(0, -'.json'.length) : `${resultsFile}-report`;

/** Writes report.md and its charts; charts of an earlier run are removed. */
export function writeReport(results: Results, resultsFile: string, groups: Groups): void {
  const directory = reportDirectory(resultsFile);
  mkdirSync(directory, { recursive: true });
  for (const name of readdirSync(directory)) if (name.endsWith('.svg')) rmSync(join(directory, name));
  for (const { name, text } of renderReport(results, basename(directory), groups)) {
    writeFileSync(join(directory, name), text);
  }
}
