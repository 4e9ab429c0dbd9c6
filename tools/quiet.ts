/** `-q`: commands that change something print no result for people, and no progress. */
import type { Command } from 'commander';

let quiet = false;

/** Whether -q was given. */
export const isQuiet = (): boolean => quiet;

/** Adds the option. */
export const takeQuiet = (command: Command): Command =>
  command
    .option('-q, --quiet', 'print no result and no progress; errors and warnings only', false)
    .on('option:quiet', () => {
      quiet = true;
    });

/** Writes a result for people to standard output. */
export function printResult(text: string): void {
  if (!quiet) process.stdout.write(text);
}
