/** The commands of cfs-info that get files out of images. */
import type { Command } from 'commander';
import type { ExitStatus } from '../cli.ts';
import { cat } from './cat.ts';
import type { Output } from './output.ts';
import { type RepositoryWords, takeRepositories } from './repositories.ts';

/** Adds them to the program. */
export function addFileCommands(program: Command, out: Output, setStatus: (status: ExitStatus) => void): void {
  takeRepositories(
    program
      .command('cat <image> <path...>')
      .description('write the contents of files to standard output, each block checked before it is written'),
  ).action((image: string, paths: string[], { repo, store }: RepositoryWords) =>
    setStatus(cat(image, paths, [...repo, ...store], out)),
  );
}
