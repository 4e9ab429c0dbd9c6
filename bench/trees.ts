/** Examines the trees that are read. */
import { realpathSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CfsError, reasonOf } from '../src/base/error.ts';
import type { Bench, PathList, Tree, TreeKind } from './contract.ts';
import { isBelow, mounts } from './mounts.ts';
import { run } from './process.ts';
import type { Scratch } from './scratch.ts';

/** The largest file of the small-file workload, in bytes. */
export const SMALL_FILE_LIMIT = 65_536;

/** The real path of the source. @throws CfsError (usage) if it is not a directory */
export function findSource(source: string): string {
  try {
    const path = realpathSync(source);
    if (!statSync(path).isDirectory()) throw new Error('not a directory');
    return path;
  } catch (error) {
    throw new CfsError('usage', `Cannot measure ${source}: ${reasonOf(error)}. Choose a directory with --source.`);
  }
}

/** @param path the result of `findSource` @throws CfsError (usage) if it cannot be compared fairly */
export function checkSource(path: string, scratch: Scratch): void {
  if (isBelow(scratch.path, path)) {
    throw new CfsError(
      'usage',
      `Cannot measure ${path}: the scratch directory ${scratch.path} lies in it. Choose another with --scratch.`,
    );
  }
  const inside = mounts().find((mount) => isBelow(mount.path, path));
  if (inside !== undefined) {
    throw new CfsError(
      'usage',
      `Cannot measure ${path}: ${inside.path} is mounted in it, and overlayfs does not show what is mounted in its layers. Choose a directory without mounts.`,
    );
  }
}

/** The directory for the files that systems make of the tree `name`. */
export const workDirectory = (name: string, bench: Bench): string => bench.scratch.directory(workName(name));

const workName = (name: string): string => `work-${name}`;

/** Removes the files made of a tree, and its directory if it was generated in the scratch directory. Unmount before. */
export function removeTree(tree: Tree, bench: Bench): void {
  bench.progress(`removing the files of the ${tree.name} tree`);
  bench.scratch.remove(workName(tree.name));
  if (tree.kind !== 'source') bench.scratch.remove(tree.name);
}

/** Examines everything in `path` once, and writes the path lists of the probe. @param work its work directory */
export async function surveyTree(
  kind: TreeKind,
  name: string,
  path: string,
  bench: Bench,
  work: string = workDirectory(name, bench),
): Promise<Tree> {
  bench.progress(`looking at ${path}`);
  const all = { paths: [] as string[], bytes: 0 };
  const small = { paths: [] as string[], bytes: 0 };
  let entries = 0;
  let files = 0;
  for (const [type, size, relative] of await entriesOf(path, bench.signal)) {
    entries++;
    if (relative !== '') all.paths.push(relative);
    if (type !== 'f') continue;
    files++;
    all.bytes += size;
    if (size > SMALL_FILE_LIMIT) continue;
    small.paths.push(relative);
    small.bytes += size;
  }
  const list = (what: string, { paths, bytes }: { paths: string[]; bytes: number }): PathList => {
    const file = join(work, `${name}-${what}.list`);
    writeFileSync(file, paths.map((entry) => `${entry}\0`).join(''), 'latin1');
    return { file, count: paths.length, bytes };
  };
  const lists = { all: list('all', all), small: list('small', small) };
  return { kind, name, path, work, entries, files, bytes: all.bytes, ...lists };
}

type Entry = readonly [type: string, size: number, relativePath: string];

/** Type letter of find(1), size and relative path (its bytes as latin1) of everything in `path`, the root first. */
async function entriesOf(path: string, signal: AbortSignal): Promise<Entry[]> {
  const { stdout } = await run(['find', path, '-printf', '%y %s %P\\0'], signal, 'collect');
  return stdout
    .toString('latin1')
    .split('\0')
    .slice(0, -1)
    .map((record): Entry => {
      const [type, size] = record.split(' ', 2) as [string, string];
      return [type, Number(size), record.slice(type.length + size.length + 2)];
    });
}

/** The number of entries that a system shows: one that lost some would look fast. */
export async function countEntries(path: string, signal: AbortSignal): Promise<number> {
  return (await run(['find', path, '-printf', '.'], signal, 'collect')).stdout.length;
}
