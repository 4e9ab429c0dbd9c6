/** `cfs-info tar`. */

import { availableParallelism } from 'node:os';
import { isatty } from 'node:tty';
import { CfsError } from '../../src/base/error.ts';
import { tarOf } from '../../src/extract/tar-image.ts';
import { EXIT, type ExitStatus, printError, statusOfKind } from '../cli.ts';
import { textOf } from '../hint-words.ts';
import { withObjects } from './fetched-objects.ts';
import type { Output } from './output.ts';
import { selectedPaths } from './paths.ts';
import { readImage } from './read-image.ts';
import type { RepositoryWords } from './repositories.ts';

const STDOUT = 1;
/** One thread reads and hashes as fast as this one writes. */
const MOST_THREADS = 2;

const warn = (line: string): void => printError('cfs-info', line);

/**
 * Writes an image, or parts of it, as an archive. It ends without the archive's end if a content cannot be read.
 * @returns the status of the first path that is not in the image
 */
export async function writeTar(
  image: string,
  paths: readonly string[],
  words: RepositoryWords,
  out: Output,
): Promise<ExitStatus> {
  if (isatty(STDOUT)) throw new CfsError('usage', 'Refusing to write an archive to a terminal: redirect it');
  const { id, tables } = readImage(image);
  let status: ExitStatus = EXIT.ok;
  const selected = selectedPaths(tables, image, paths, (error) => {
    warn(textOf(error));
    if (status === EXIT.ok) status = statusOfKind(error.kind);
  });
  const threads = Math.min(availableParallelism(), MOST_THREADS);
  return await withObjects({ id, tables }, selected, words, async (repositories, signal) => {
    for await (const bytes of tarOf(tables, { image, repositories, paths: selected, threads, warn })) {
      signal?.throwIfAborted();
      out.bytes(bytes);
    }
    return status;
  });
}
