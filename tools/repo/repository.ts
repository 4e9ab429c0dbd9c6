/** What the commands of cfs-repo share. */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { CfsError } from '../../src/base/error.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { openRepository } from '../../src/store/open-repository.ts';
import { type ExitStatus, printError } from '../cli.ts';

/** Adds a command to cfs-repo. Its status is what `cfs-repo` exits with. */
export interface Commands {
  readonly program: Command;
  setStatus(status: ExitStatus): void;
}

export function checkDirectoryArgument(dir: string): void {
  if (dir === '') throw new CfsError('usage', 'DIR is empty');
}

/** The repository that DIR of the command line is. */
export function repositoryAt(dir: string): LocalRepository {
  checkDirectoryArgument(dir);
  if (statSync(dir, { throwIfNoEntry: false })?.isFile()) {
    throw new CfsError('store', `Cannot open repository ${dir}: not a directory. DIR, the store, comes before images`);
  }
  return openRepository(dir);
}

/** A line for people, on stderr. */
export const warn = (line: string): void => printError('cfs-repo', line);

/** For options that can be given several times. */
export const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];
