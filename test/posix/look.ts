/** Everything that a user sees of a tree, to compare. */
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readFileSync, readlinkSync, readSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { errnoName, isErrno } from '../../src/base/errno.ts';
import { pathText } from '../../src/base/path-text.ts';
import '../../src/system/exact-paths.ts';
import { getXattr, listXattrs } from '../../src/system/xattrs.ts';
import { type Dirent, readAllEntries } from '../support/suites/calls.ts';
import { close, O_DIRECTORY, O_RDONLY, open, S_IFMT } from './calls.ts';

const TYPES: Readonly<Record<number, string>> = { 1: '|', 2: 'c', 4: 'd', 6: 'b', 8: '-', 10: 'l', 12: 's' };

/** Earlier times were set by a call; later ones depend on when a call was made. */
const PRESENT_MS = Date.UTC(2020, 0);

/** What is visible of a file, by the name of the field. */
export type View = Readonly<Record<string, string | number>>;

/** Mode, owner, size, links and time, as far as they are the same on each file system. */
export function viewOfStatus(status: Stats): View {
  const type = TYPES[(status.mode & S_IFMT) >> 12] ?? '?';
  const isDevice = status.isCharacterDevice() || status.isBlockDevice();
  return {
    mode: `${type}${(status.mode & 0o7777).toString(8)}`,
    owner: `${status.uid}:${status.gid}`,
    // each file system has its own sizes and links of directories
    ...(status.isDirectory() ? {} : { size: status.size, links: status.nlink }),
    ...(isDevice ? { device: status.rdev } : {}),
    mtime: status.mtimeMs < PRESENT_MS ? status.mtimeMs : RECENT,
  };
}

/** The time of files that a test changed. */
export const RECENT = 'recent';

export const textOf = (view: View): string =>
  Object.entries(view)
    .map(([field, value]) => `${field} ${value}`)
    .join(', ');

export const hashOf = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex').slice(0, 12);

function xattrsOf(path: string): string {
  const names = listXattrs(path);
  if (isErrno(names)) return errnoName(names);
  const texts = names.map((name) => {
    const value = getXattr(path, name);
    return `${Buffer.from(name)}=${isErrno(value) ? errnoName(value) : hashOf(value)}`;
  });
  return texts.sort().join(' ');
}

const LARGE = 16 << 20;
const PART = 1 << 16;

/** The hash of the content; of a large file, of its beginning and end. */
function contentOf(path: string, size: number): string {
  if (size <= LARGE) return hashOf(readFileSync(path));
  const fd = openSync(path, 'r');
  try {
    const parts = Buffer.alloc(2 * PART);
    readSync(fd, parts, 0, PART, 0);
    readSync(fd, parts, PART, PART, size - PART);
    return hashOf(parts);
  } finally {
    closeSync(fd);
  }
}

function listingOf(path: string): Dirent[] {
  const fd = open(path, O_RDONLY | O_DIRECTORY);
  if (isErrno(fd)) throw new Error(`open ${path}: ${errnoName(fd)}`);
  try {
    return readAllEntries(fd, 32_768);
  } finally {
    close(fd);
  }
}

/**
 * All files below `root`, and `root` itself (""), by path. Also checks the consistency of one file system: a listing
 * has the types and inode numbers of stat(2), "." and "..", and no name twice.
 */
export function look(root: string): Map<string, View> {
  const views = new Map<string, View>();
  const linked = new Map<string, string>();
  const visit = (name: string, entry: Dirent | undefined): void => {
    const path = join(root, name);
    const status = lstatSync(path);
    const view: Record<string, string | number> = { ...viewOfStatus(status), xattrs: xattrsOf(path) };
    views.set(name, view);
    if (entry !== undefined) {
      if (entry.type !== (status.mode & S_IFMT) >> 12) view['type in listing'] = entry.type;
      if (entry.ino !== status.ino) view['inode in listing'] = `${entry.ino}, not ${status.ino}`;
    }
    if (status.isSymbolicLink()) view['target'] = readlinkSync(path);
    if (status.isFile()) view['content'] = contentOf(path, status.size);
    if (!status.isDirectory() && status.nlink > 1) {
      const key = `${status.dev}:${status.ino}`;
      const first = linked.get(key);
      if (first === undefined) linked.set(key, name);
      else view['same as'] = first;
    }
    if (!status.isDirectory()) return;
    const entries = listingOf(path);
    const names = entries.map((entry) => pathText(entry.name)).sort();
    if (!names.includes('.') || !names.includes('..')) view['without dots'] = names.join(' ');
    if (new Set(names).size !== names.length) view['listed twice'] = names.join(' ');
    const below = entries.filter(({ name }) => !['.', '..'].includes(name.toString()));
    below.sort((a, b) => Buffer.compare(a.name, b.name));
    for (const entry of below) visit(join(name, pathText(entry.name)), entry);
  };
  visit('', undefined);
  return views;
}

/** Whether a field of one file may be `right` although `left` is expected. */
export type Allow = (field: string, left: string | number | undefined, right: string | number | undefined) => boolean;

/** The fields in which two trees differ. Empty if they are the same. */
export function differences(left: Map<string, View>, right: Map<string, View>, allow: Allow = () => false): string[] {
  const found: string[] = [];
  for (const path of [...new Set([...left.keys(), ...right.keys()])].sort()) {
    const [one, other] = [left.get(path), right.get(path)];
    if (one === undefined || other === undefined) {
      found.push(`${path || '.'}: ${one === undefined ? 'only in the second' : 'only in the first'}`);
      continue;
    }
    for (const field of new Set([...Object.keys(one), ...Object.keys(other)])) {
      const [a, b] = [one[field], other[field]];
      if (a !== b && !allow(field, a, b)) found.push(`${path || '.'}: ${field} ${a} / ${b}`);
    }
  }
  return found;
}
