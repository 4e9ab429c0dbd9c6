/** `cfs-info cat`. */
import { printable } from '../../src/base/bytes.ts';
import { CfsError } from '../../src/base/error.ts';
import { pathBytes } from '../../src/base/path-text.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../../src/base/stat-bits.ts';
import { ImageContents } from '../../src/extract/image-contents.ts';
import { objectOf } from '../../src/manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../src/manifest/tables.ts';
import { type ExitStatus, printError } from '../cli.ts';
import { tryEach } from './operands.ts';
import type { Output } from './output.ts';
import { followArgument } from './paths.ts';
import { readImage } from './read-image.ts';
import { openRepositories } from './repositories.ts';

const CHUNK = 1 << 20;

/**
 * Writes the contents of files, one after the other. A file that cannot be read is a line on stderr; what was written
 * of it before is verified.
 * @param dirs repositories
 * @returns the status of the first failure
 */
export function cat(image: string, paths: readonly string[], dirs: readonly string[], out: Output): ExitStatus {
  const { tables } = readImage(image);
  let contents: ImageContents | undefined;
  const status = tryEach(paths, false, out, (argument) => {
    const row = regularFile(tables, image, argument);
    // no repository is needed for contents that are in the image itself
    const repositories = (): ReturnType<typeof openRepositories> => openRepositories(dirs, tables.header.hash);
    if (objectOf(tables, row) >= 0) contents ??= reader(tables, image, repositories());
    write(contents ?? reader(tables, image, []), tables, row, argument, out);
  });
  contents?.close();
  return status;
}

const reader = (
  tables: ManifestTables,
  image: string,
  repositories: ReturnType<typeof openRepositories>,
): ImageContents =>
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

function write(contents: ImageContents, tables: ManifestTables, row: number, argument: string, out: Output): void {
  const size = u64(tables.inodes.size, row);
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK, size));
  for (let at = 0; at < size; at += CHUNK) {
    const chunk = buffer.subarray(0, Math.min(CHUNK, size - at));
    contents.read(row, at, chunk, () => printable(pathBytes(argument)));
    out.bytes(chunk);
  }
}
