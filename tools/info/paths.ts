/** Paths inside an image, from the command line. */
import { printable } from '../../src/base/bytes.ts';
import { isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import { pathBytes } from '../../src/base/path-text.ts';
import { S_IFLNK, S_IFMT } from '../../src/base/stat-bits.ts';
import { followPath } from '../../src/manifest/follow.ts';
import { isDirectory, linkTarget, lookupName } from '../../src/manifest/lookup.ts';
import type { ManifestTables } from '../../src/manifest/tables.ts';
import { errnoText } from '../../src/system/libc.ts';

/** Tables, and their name on the command line. */
export interface NamedTables {
  readonly name: string;
  readonly tables: ManifestTables;
}

export interface ImagePath {
  /** Row of the inode. */
  readonly row: number;
  /** Absolute, without "." and ".."; "/" for the root. */
  readonly path: Uint8Array;
}

/**
 * Finds the inode of `argument`: a path from the root of the image, with or without "/" before it. Symbolic links are
 * not followed. A name that cannot be typed can be given as this tool prints it, with `\xHH` for a byte.
 * @throws CfsError (usage) that says where the path ends
 */
export function findPath(tables: ManifestTables, image: string, argument: string): ImagePath {
  const found = resolveArgument(tables, argument);
  if (typeof found !== 'string') return found;
  throw new CfsError('usage', `Cannot find ${printable(pathBytes(argument))} in image ${image}: ${found}`);
}

/**
 * The path of `argument` in the first of two images that has it; as `findPath`.
 * @throws CfsError (usage) if neither has it
 */
export function findPathInEither(first: NamedTables, second: NamedTables, argument: string): Uint8Array {
  const problems: string[] = [];
  for (const { name, tables } of [first, second]) {
    const found = resolveArgument(tables, argument);
    if (typeof found !== 'string') return found.path;
    problems.push(`in image ${name}: ${found}`);
  }
  throw new CfsError('usage', `Cannot find ${printable(pathBytes(argument))} ${problems.join('; and ')}`);
}

/**
 * The paths of the arguments that are in the image; without any, "/".
 * @param failed receives the error of each other one
 * @throws CfsError (usage) of an only argument
 */
export function selectedPaths(
  tables: ManifestTables,
  image: string,
  paths: readonly string[],
  failed: (error: CfsError) => void,
): Uint8Array[] {
  if (paths.length === 0) return [Buffer.from('/')];
  return paths.flatMap((path) => {
    try {
      return [findPath(tables, image, path).path];
    } catch (error) {
      if (!(error instanceof CfsError) || paths.length === 1) throw error;
      failed(error);
      return [];
    }
  });
}

/**
 * As `findPath`, for the file that programs in the image would open: symbolic links are followed, inside the image.
 * @returns the row of the inode
 * @throws CfsError (usage)
 */
export function followArgument(tables: ManifestTables, image: string, argument: string): number {
  const literal = followPath(tables, pathBytes(argument));
  const row = isErrno(literal) && argument.includes('\\') ? followPath(tables, unescapePrintable(argument)) : literal;
  if (!isErrno(row)) return row;
  const reason = errnoText(isErrno(literal) ? literal : row);
  throw new CfsError('usage', `Cannot find ${printable(pathBytes(argument))} in image ${image}: ${reason}`);
}

/** The inode, or a sentence that says where the path ends. */
function resolveArgument(tables: ManifestTables, argument: string): ImagePath | string {
  const literal = resolveNames(tables, namesOf(pathBytes(argument)));
  if (typeof literal !== 'string' || !argument.includes('\\')) return literal;
  const unescaped = resolveNames(tables, namesOf(unescapePrintable(argument)));
  return typeof unescaped === 'string' ? literal : unescaped;
}

/** The names of a path; ".." removes the name before it, as if there were no symbolic links. */
function namesOf(path: Buffer): Buffer[] {
  const names: Buffer[] = [];
  for (let from = 0; from <= path.length; ) {
    const slash = path.indexOf(0x2f, from);
    const name = path.subarray(from, slash < 0 ? path.length : slash);
    from += name.length + 1;
    const text = name.toString('latin1');
    if (text === '..') names.pop();
    else if (text !== '' && text !== '.') names.push(name);
  }
  return names;
}

const joinNames = (names: readonly Buffer[]): Buffer =>
  names.length === 0 ? Buffer.from('/') : Buffer.concat(names.flatMap((name) => [Buffer.from('/'), name]));

/** The inode, or a sentence that says why there is none. */
function resolveNames(tables: ManifestTables, names: readonly Buffer[]): ImagePath | string {
  let row = 0;
  for (const [i, name] of names.entries()) {
    const above = printable(joinNames(names.slice(0, i)));
    if (((tables.inodes.mode[row] as number) & S_IFMT) === S_IFLNK) {
      return `${above} is a symbolic link to ${printable(linkTarget(tables, row))}, and links are not followed; use the path without it`;
    }
    if (!isDirectory(tables, row)) return `${above} is not a directory`;
    row = lookupName(tables, row, name);
    if (row < 0) return `${above} has no entry ${printable(name)}`;
  }
  return { row, path: joinNames(names) };
}

/** The inverse of `printable`: `\\` and `\xHH`; any other backslash is itself. */
export function unescapePrintable(text: string): Buffer {
  const parts = text.split(/(\\\\|\\x[0-9a-f]{2})/);
  return Buffer.concat(
    parts.map((part, i) => {
      if (i % 2 === 0) return pathBytes(part);
      return part === '\\\\' ? Buffer.from('\\') : Buffer.from(part.slice(2), 'hex');
    }),
  );
}
