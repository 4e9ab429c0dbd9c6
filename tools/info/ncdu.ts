/**
 * The JSON format that `ncdu -f` reads, version 1.2 (https://dev.yorhel.nl/ncdu/jsonfmt): an array of versions, facts
 * about the program, and the tree. A directory is an array: its own object, then those of its entries. Names are bytes,
 * also if they are not UTF-8.
 */
import { version } from '../../src/base/installation.ts';
import { S_IFMT, S_IFREG } from '../../src/base/stat-bits.ts';
import { direntName, direntRange, isDirectory } from '../../src/manifest/lookup.ts';
import { i64, type ManifestTables, u64 } from '../../src/manifest/tables.ts';
import type { Output } from './output.ts';
import type { ImagePath } from './paths.ts';

const LARGEST_OWNER = 0x7fff_ffff;

/** Where the entries of a directory begin, the next one, and the end. */
interface Level {
  next: number;
  readonly end: number;
}

/** Writes a directory of an image with everything below it. */
export function writeNcdu(tables: ManifestTables, { row, path }: ImagePath, out: Output): void {
  const timestamp = Math.floor(Date.now() / 1000);
  out.text(`[1,2,${JSON.stringify({ progname: 'cfs-info', progver: version(), timestamp })},\n`);
  const stack: Level[] = [];
  const enter = (directory: number, name: Uint8Array): void => {
    const [next, end] = direntRange(tables, directory);
    out.text('[');
    writeEntry(tables, directory, name, stack.length === 0 ? ',"dev":1' : '', out);
    stack.push({ next, end });
  };
  enter(row, path);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    if (top.next === top.end) {
      out.text(']');
      stack.pop();
      continue;
    }
    const dirent = top.next++;
    const inode = tables.dirents.inode[dirent] as number;
    out.text(',\n');
    if (isDirectory(tables, inode)) enter(inode, direntName(tables, dirent));
    else writeEntry(tables, inode, direntName(tables, dirent), '', out);
  }
  out.text(']\n');
}

function writeEntry(tables: ManifestTables, row: number, name: Uint8Array, more: string, out: Output): void {
  const { id, mode, uid, gid, nlink, size, mtime } = tables.inodes;
  const kind = (mode[row] as number) & S_IFMT;
  out.text('{"name":"');
  out.bytes(quoted(name));
  // numbers that ncdu refuses are left out: owners above 2^31 - 1, and times before 1970
  const owners = { uid: uid[row] as number, gid: gid[row] as number };
  const fields = Object.entries(owners).flatMap(([key, owner]) =>
    owner > LARGEST_OWNER ? [] : [`,"${key}":${owner}`],
  );
  fields.push(`,"mode":${mode[row]}`);
  const seconds = i64(mtime, row);
  if (seconds >= 0n) fields.push(`,"mtime":${seconds}`);
  if (kind === S_IFREG) {
    const bytes = u64(size, row);
    if (bytes > 0) fields.push(`,"asize":${bytes},"dsize":${bytes}`);
    const links = nlink[row] as number;
    if (links > 1) fields.push(`,"ino":${u64(id, row)},"hlnkc":true,"nlink":${links}`);
  } else if (!isDirectory(tables, row)) fields.push(',"notreg":true');
  out.text(`"${more}${fields.join('')}}`);
}

const [QUOTE, BACKSLASH, FIRST_GRAPHIC, DELETE] = [0x22, 0x5c, 0x20, 0x7f];

const mustBeEscaped = (byte: number): boolean =>
  byte < FIRST_GRAPHIC || byte === QUOTE || byte === BACKSLASH || byte === DELETE;

/** The inside of a string of JSON, with all other bytes as they are. */
function quoted(name: Uint8Array): Uint8Array {
  if (!name.some(mustBeEscaped)) return name;
  const parts = Array.from(name, (byte) =>
    mustBeEscaped(byte) ? Buffer.from(`\\u${byte.toString(16).padStart(4, '0')}`) : Buffer.of(byte),
  );
  return Buffer.concat(parts);
}
