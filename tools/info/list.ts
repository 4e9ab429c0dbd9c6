/** `cfs-info ls`. */
import { printable } from '../../src/base/bytes.ts';
import { S_IFLNK } from '../../src/base/stat-bits.ts';
import { direntName, direntRange, isDirectory, linkTarget, walkTree } from '../../src/manifest/lookup.ts';
import { inodeCount, type ManifestTables, u64 } from '../../src/manifest/tables.ts';
import { deviceNumbers, isDevice, jsonOfInode, modeString, timeString, typeOf } from './inode.ts';
import type { Output } from './output.ts';
import type { ImagePath } from './paths.ts';

export interface ListOptions {
  readonly recursive: boolean;
  readonly long: boolean;
  /** A slash after the name of each directory. */
  readonly slash: boolean;
  /** Unescaped names, each line ended by NUL. */
  readonly null: boolean;
  readonly json: boolean;
}

/**
 * Receives each entry of a listing: `name` is the text to show, `path` returns the absolute path. Both are valid during
 * the call only.
 */
type Visit = (row: number, name: Uint8Array, path: () => Uint8Array) => void;

/**
 * Lists a directory's entries, or `start` itself if it is not a directory. A recursive listing has one absolute path
 * per line, in path order, so that each line identifies one entry.
 */
export function list(tables: ManifestTables, start: ImagePath, options: ListOptions, out: Output): void {
  if (options.json) {
    visitEntries(tables, start, options.recursive, (row, _name, path) => {
      out.jsonElement(jsonOfInode(tables, row, path()));
    });
    out.jsonEnd();
    return;
  }
  const columns = options.long ? longColumns(tables) : () => '';
  const show = (name: Uint8Array): void => (options.null ? out.bytes(name) : out.text(printable(name)));
  visitEntries(tables, start, options.recursive, (row, name) => {
    out.text(columns(row));
    show(name);
    if (options.slash && isDirectory(tables, row)) out.text('/');
    if (options.long && typeOf(tables, row) === S_IFLNK) {
      out.text(' -> ');
      show(linkTarget(tables, row));
    }
    out.text(options.null ? '\0' : '\n');
  });
}

function visitEntries(tables: ManifestTables, start: ImagePath, recursive: boolean, visit: Visit): void {
  if (!isDirectory(tables, start.row)) {
    visit(start.row, start.path, () => start.path);
  } else if (recursive) {
    let first = true;
    walkTree(
      tables,
      ({ row, path }) => {
        if (!first) visit(row, path, () => path);
        first = false;
      },
      start.row,
      start.path,
    );
  } else {
    const prefix = start.row === 0 ? start.path : Buffer.concat([start.path, Buffer.from('/')]);
    const [from, to] = direntRange(tables, start.row);
    for (let d = from; d < to; d++) {
      const name = direntName(tables, d);
      visit(tables.dirents.inode[d] as number, name, () => Buffer.concat([prefix, name]));
    }
  }
}

/** Mode, nlink, uid, gid, size and mtime of a row, in columns wide enough for every inode of the image. */
function longColumns(tables: ManifestTables): (row: number) => string {
  const { mode, nlink, uid, gid } = tables.inodes;
  const nlinkWidth = digits(largest(nlink));
  const uidWidth = digits(largest(uid));
  const gidWidth = digits(largest(gid));
  const sizeWidth = widestSize(tables);
  return (row) => {
    const numbers = [
      String(nlink[row]).padStart(nlinkWidth),
      String(uid[row]).padStart(uidWidth),
      String(gid[row]).padStart(gidWidth),
      sizeColumn(tables, row).padStart(sizeWidth),
    ];
    return `${modeString(mode[row] as number)} ${numbers.join(' ')} ${timeString(tables, row, false)} `;
  };
}

/** The size, for devices "major,minor". */
function sizeColumn(tables: ManifestTables, row: number): string {
  if (!isDevice(tables, row)) return String(u64(tables.inodes.size, row));
  const { major, minor } = deviceNumbers(tables.inodes.rdev[row] as number);
  return `${major},${minor}`;
}

function widestSize(tables: ManifestTables): number {
  let largestSize = 0;
  let width = 1;
  for (let row = 0; row < inodeCount(tables); row++) {
    if (isDevice(tables, row)) width = Math.max(width, sizeColumn(tables, row).length);
    else largestSize = Math.max(largestSize, u64(tables.inodes.size, row));
  }
  return Math.max(width, digits(largestSize));
}

const digits = (n: number): number => String(n).length;

function largest(column: Uint32Array): number {
  return column.reduce((max, value) => Math.max(max, value), 0);
}
