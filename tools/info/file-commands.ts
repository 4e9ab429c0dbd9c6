/** The commands of cfs-info that get files out of images. */
import type { Command } from 'commander';
import { type ExitStatus, threadsOption } from '../cli.ts';
import { cat } from './cat.ts';
import { type ExtractWords, extract } from './extract.ts';
import type { Output } from './output.ts';
import { type RepositoryWords, takeRepositories } from './repositories.ts';
import { writeTar } from './tar.ts';

/** Adds them to the program. */
export function addFileCommands(program: Command, out: Output, setStatus: (status: ExitStatus) => void): void {
  takeRepositories(
    program
      .command('cat <image> <path...>')
      .description('write the contents of files to standard output, each block checked before it is written'),
  ).action(async (image: string, paths: string[], words: RepositoryWords) =>
    setStatus(await cat(image, paths, words, out)),
  );

  takeRepositories(
    program
      .command('extract <image> [path...]')
      .description('copy the tree of an image, or these parts of it, into a directory; verified, without a mount')
      .option('-C, --directory <dir>', 'where to; made if it is missing', '.')
      .option('--no-same-owner', 'do not set the owners; without root privileges only groups are set, where allowed')
      .option('--skip-xattrs', 'do not set extended attributes', false)
      .addOption(threadsOption('--threads', 64))
      .option('--json', 'one JSON value on standard output'),
  ).action(async (image: string, paths: string[], words: ExtractWords & RepositoryWords) =>
    setStatus(await extract(image, paths, words, words)),
  );

  takeRepositories(
    program
      .command('tar <image> [path...]')
      .description('write the tree of an image, or these parts of it, as a tar archive to standard output; verified'),
  ).action(async (image: string, paths: string[], words: RepositoryWords) =>
    setStatus(await writeTar(image, paths, words, out)),
  );
}
