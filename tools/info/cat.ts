/** `cfs-info cat`. */
import { setImmediate } from 'node:timers/promises';
import { printable } from '../../src/base/bytes.ts';
import { CfsError } from '../../src/base/error.ts';
import { pathBytes } from '../../src/base/path-text.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../../src/base/stat-bits.ts';
import { ImageContents } from '../../src/extract/image-contents.ts';
import { objectOf } from '../../src/manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../src/manifest/tables.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { type ExitStatus, printError } from '../cli.ts';
import { hasRemote, localOnes, withFetched } from './fetched-objects.ts';
import { tryEachInTurn } from './operands.ts';
import type { Output } from './output.ts';
import { followArgument } from './paths.ts';
import { readImage } from './read-image.ts';
import type { RepositoryWords } from './repositories.ts';

const CHUNK = 1 << 20;

/**
 * Writes the contents of files, one after the other. A file that cannot be read is a line on stderr; what was written
 * of it before is verified.
 * @returns the status of the first failure
 */
export async function cat(
  image: string,
  paths: readonly string[],
  words: RepositoryWords,
  out: Output,
): Promise<ExitStatus> {
  const { id, tables } = readImage(image);
  if (!hasRemote(words)) return await writeAll(tables, image, paths, () => localOnes(words, tables.header.hash), out);
  const objects = paths.flatMap((path) => objectNamed(tables, image, path));
  return await withFetched({ id, tables }, objects, words, (repositories, signal) =>
    writeAll(tables, image, paths, () => repositories, out, signal),
  );
}

/** @param repositories is called if a content is not in the image itself: only then is one needed */
async function writeAll(
  tables: ManifestTables,
  image: string,
  paths: readonly string[],
  repositories: () => readonly LocalRepository[],
  out: Output,
  signal?: AbortSignal,
): Promise<ExitStatus> {
  let contents: ImageContents | undefined;
  const status = await tryEachInTurn(paths, out, async (argument) => {
    const row = regularFile(tables, image, argument);
    if (objectOf(tables, row) >= 0) contents ??= reader(tables, image, repositories());
    await write(contents ?? reader(tables, image, []), tables, row, argument, out, signal);
  });
  contents?.close();
  return status;
}

/** The object of a path; none if there is no such file, which is reported later. */
function objectNamed(tables: ManifestTables, image: string, path: string): number[] {
  try {
    const object = objectOf(tables, regularFile(tables, image, path));
    return object < 0 ? [] : [object];
  } catch (error) {
    if (error instanceof CfsError) return [];
    throw error;
  }
}

const reader = (tables: ManifestTables, image: string, repositories: readonly LocalRepository[]): ImageContents =>
  new ImageContents(tables, image, repositories, {
    warn: (line) => printError('cfs-info', line),
    hint: '`missing` lists the objects that a repository does not have.',
  });

function regularFile(tables: ManifestTables, image: string, argument: string): number {
  const row = followArgument(tables, image, argument);
  const type = (tables.inodes.mode[row] as number) & S_IFMT;
  if (type === S_IFREG) return row;
  const reason = type === S_IFDIR ? 'it is a directory' : 'it is not a regular file';
  throw new CfsError('usage', `Cannot read ${printable(pathBytes(argument))} of image ${image}: ${reason}`);
}

async function write(
  contents: ImageContents,
  tables: ManifestTables,
  row: number,
  argument: string,
  out: Output,
  signal: AbortSignal | undefined,
): Promise<void> {
  const size = u64(tables.inodes.size, row);
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK, size));
  for (let at = 0; at < size; at += CHUNK) {
    const chunk = buffer.subarray(0, Math.min(CHUNK, size - at));
    contents.read(row, at, chunk, () => printable(pathBytes(argument)));
    out.bytes(chunk);
    if (signal === undefined) continue;
    await setImmediate();
    signal.throwIfAborted();
  }
}
