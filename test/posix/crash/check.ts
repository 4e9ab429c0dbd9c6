/** Compares a directory after a power failure with the transactions of its writer. */
import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { bytesOf, type FileState, imageOf, type State, type Transaction } from './transactions.ts';

/** How far the writer was: before the failure, and at most. */
export interface Progress {
  /** Transactions that were durable, and the inode numbers of their files, by path. */
  readonly durable: readonly ReadonlyMap<string, number>[];
  /** The number of transactions that may have begun. */
  readonly begun: number;
}

/** All names in a directory, and below it. */
const namesIn = (root: string): string[] => readdirSync(root, { recursive: true, encoding: 'utf8' });

/** What is wrong in the directory. Empty if all is right. */
export function wrongStates(root: string, transactions: readonly Transaction[], progress: Progress): string[] {
  const { durable, begun } = progress;
  const wrong: string[] = [];
  const expected = new Set(imageOf(transactions).keys());
  transactions.forEach(({ name, changes, kept = [], same = [] }, i) => {
    const when = i < durable.length ? 'durable' : i < begun ? 'begun' : 'not begun';
    const say = (path: string, text: string): void => {
      wrong.push(`${i} (${name}, ${when}): ${path}: ${text}`);
    };
    for (const { path, before, after, between = [] } of changes) {
      const allowed = { durable: [after], begun: [before, ...between, after], 'not begun': [before] }[when];
      const differences = allowed.map((state) => differenceOf(join(root, path), state));
      if (!differences.includes(undefined)) say(path, differences.join('; '));
      if (when !== 'not begun' || before !== 'absent') expected.add(path);
      const ino = durable[i]?.get(path);
      const now = statusOf(join(root, path))?.ino;
      if (ino !== undefined && now !== undefined && now !== ino) say(path, `inode ${now}, not ${ino}`);
    }
    if (kept.length > 0 && kept.every((path) => statusOf(join(root, path)) === undefined)) say(`${kept}`, 'all absent');
    const inodes = same.map((path) => statusOf(join(root, path))?.ino);
    if (when === 'durable' && new Set(inodes).size > 1) say(`${same}`, `inodes ${inodes}`);
  });
  for (const name of namesIn(root)) if (!expected.has(name)) wrong.push(`${name}: should not be there`);
  return wrong;
}

const statusOf = (path: string): Stats | undefined => lstatSync(path, { throwIfNoEntry: false });

/** In what a name differs from a state; undefined if it does not. */
function differenceOf(path: string, state: State): string | undefined {
  const status = statusOf(path);
  if (status === undefined) return state === 'absent' ? undefined : 'absent';
  if (state === 'absent') return 'present';
  if (state === 'directory') return status.isDirectory() ? undefined : 'not a directory';
  if ('target' in state) {
    const target = status.isSymbolicLink() ? readlinkSync(path) : 'none';
    return target === state.target ? undefined : `target ${target}`;
  }
  return status.isFile() ? fileDifference(path, status, state) : 'not a file';
}

function fileDifference(path: string, status: Stats, { parts, atLeast, mode, links }: FileState): string | undefined {
  const content = readFileSync(path);
  const wanted = bytesOf(parts);
  const least = atLeast ?? wanted.length;
  if (content.length < least || content.length > wanted.length) return `${content.length} bytes, not ${wanted.length}`;
  const same = content.findIndex((byte, i) => byte !== wanted[i]);
  if (same >= 0) return `other bytes from ${same} of ${content.length} on: ${content.subarray(same, same + 20)}`;
  if (mode !== undefined && (status.mode & 0o7777) !== mode) return `mode ${(status.mode & 0o7777).toString(8)}`;
  if (links !== undefined && status.nlink !== links) return `${status.nlink} links`;
  return undefined;
}
