/**
 * Profiles: the paths of files in the order in which programs opened them first, as text. docs/remote.md specifies the
 * format. Paths, and not objects, because they stay the same when an image is made again. Pure.
 */
import { CfsError } from '../base/error.ts';
import { lookupPath, objectOf, pathOfRow, walkTree } from './lookup.ts';
import type { ManifestTables } from './tables.ts';

/** Bytes of a profile, at most. */
export const PROFILE_LIMIT: number = 64 << 20;

const HEADER = 'cfs-profile 1';
/** In texts of which each character is a byte. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are escaped
const ESCAPED = /[\x00-\x1f\x7f\\]/g;

const escapeOf = (character: string): string => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;

const lineOf = (path: Uint8Array): string => Buffer.from(path).toString('latin1').replace(ESCAPED, escapeOf);

/** The bytes that a path takes in a profile. */
export const bytesInProfile = (path: Uint8Array): number => lineOf(path).length + 1;

/** @param paths absolute; each is a line */
export function encodeProfile(paths: Iterable<Uint8Array>): Uint8Array {
  const lines = [HEADER];
  for (const path of paths) lines.push(lineOf(path));
  return Buffer.from(`${lines.join('\n')}\n`, 'latin1');
}

/**
 * The paths of a profile, each once. Lines that are empty or begin with `#` say nothing. An empty file has none: a
 * crash of the machine may leave it.
 * @param name of the file, for messages
 * @throws CfsError (usage)
 */
export function parseProfile(bytes: Uint8Array, name: string): Uint8Array[] {
  const fail = (reason: string): CfsError => new CfsError('usage', `${name} is not a profile: ${reason}`);
  if (bytes.length > PROFILE_LIMIT) throw fail('it is too large');
  if (bytes.length === 0) return [];
  const [header, ...lines] = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1').split('\n');
  if (header !== HEADER) throw fail(`its first line is not "${HEADER}"`);
  const paths = new Set<string>();
  for (const [i, line] of lines.entries()) {
    if (line === '' || line.startsWith('#')) continue;
    if (!line.startsWith('/') || /\\(?!x[0-9a-f]{2})/.test(line)) throw fail(`line ${i + 2} is not a path`);
    paths.add(
      line.replace(/\\x([0-9a-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16))),
    );
  }
  return Array.from(paths, (path) => Buffer.from(path, 'latin1'));
}

/** The objects of the files at these paths, in their order, each once. Other paths are left out. */
export function objectsOfPaths(tables: ManifestTables, paths: Iterable<Uint8Array>): number[] {
  const objects = new Set<number>();
  for (const path of paths) {
    const row = lookupPath(tables, path);
    const object = row < 0 ? -1 : objectOf(tables, row);
    if (object >= 0) objects.add(object);
  }
  return [...objects];
}

/** Above so many, a walk through the tree costs less than a scan for each. */
const FEW = 4;

/** The path of each inode row, by its first link. */
export function pathsOfRows(tables: ManifestTables, rows: readonly number[]): Uint8Array[] {
  if (rows.length <= FEW) return rows.map((row) => pathOfRow(tables, row));
  const wanted = new Set(rows);
  const paths = new Map<number, Uint8Array>();
  walkTree(tables, ({ row, first, path }) => {
    if (first && wanted.has(row)) paths.set(row, Uint8Array.from(path));
  });
  return rows.map((row) => paths.get(row) as Uint8Array);
}
