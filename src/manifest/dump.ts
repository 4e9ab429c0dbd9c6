/**
 * The textual dump of composefs-dump(5), the input of mkcomposefs. It equals the output of `composefs-info dump`
 * (composefs 1.0.8) byte for byte, with two exceptions. SIZE of a directory, which readers ignore, is 0; and an
 * attribute value that is a lone dash is escaped, so that no reader can take it for "unset".
 *
 *     PATH SIZE ["@"]MODE NLINK UID GID RDEV SEC.NSEC PAYLOAD CONTENT DIGEST [KEY=VALUE]…
 *
 * - The first link of an inode in path order is its full line. The others have "@" and the path of the first
 *   as PAYLOAD; their other fields repeat the inode's, which readers ignore.
 * - PAYLOAD of a file is its object's path below `objects/`. DIGEST is for fs-verity digests only, so it is unset if
 *   the image names its objects by BLAKE3.
 * - RDEV: the kernel's 32-bit encoding equals st_rdev of glibc as long as major < 2^12 and minor < 2^20,
 *   and 32 bits hold no more.
 * - mkcomposefs refuses lines with more than 65,535 bytes of attributes and inline contents of more than 5,000 bytes
 *   (LCFS_INLINE_CONTENT_MAX). They are written nevertheless.
 */
import { compareBytes } from '../base/bytes.ts';
import { S_IFLNK, S_IFMT } from '../base/stat-bits.ts';
import { inlineOf, isDirectory, linkTarget, lookupName, objectHex, objectOf, walkTree, xattrsOf } from './lookup.ts';
import { i64, type ManifestTables, u64 } from './tables.ts';

const UNSET = '-';
const SLASH = 0x2f;
const ROOT: Uint8Array = Uint8Array.of(SLASH);

/**
 * Passes each line of the dump, with its line feed, to `emit`; a line is ASCII. An exception from `emit` ends the dump.
 * @param paths dump only these and everything below them, and for each the directories above it, so that the result is
 *   a complete dump. Absolute, without "." or a "/" at the end; each must exist.
 */
export function writeDump(
  tables: ManifestTables,
  emit: (line: string) => void,
  paths: readonly Uint8Array[] = [ROOT],
): void {
  const firstLinks = new Map<number, string>();
  walkPaths(tables, paths, (row, path) => {
    const escaped = escapeField(path);
    const target = firstLinks.get(row);
    emit(lineOf(tables, row, escaped, target));
    if (target === undefined && tables.inodes.nlink[row] !== 1 && !isDirectory(tables, row)) {
      firstLinks.set(row, escaped);
    }
  });
}

/**
 * Visits, in path order and each once: the directories above `paths`, `paths`, and everything below them.
 * @param paths as in `writeDump`
 * @param visit its `path` is valid only during the call
 */
export function walkPaths(
  tables: ManifestTables,
  paths: readonly Uint8Array[],
  visit: (row: number, path: Uint8Array) => void,
): void {
  const shown = new Set<number>();
  for (const path of outermost(paths)) {
    let row = 0;
    for (let at = 0; at < path.length - 1; ) {
      if (!shown.has(row)) visit(row, at === 0 ? ROOT : path.subarray(0, at));
      shown.add(row);
      const slash = path.indexOf(SLASH, at + 1);
      const end = slash < 0 ? path.length : slash;
      row = isDirectory(tables, row) ? lookupName(tables, row, path.subarray(at + 1, end)) : -1;
      if (row < 0) throw new Error('a path that is not in the image');
      at = end;
    }
    walkTree(tables, (link) => visit(link.row, link.path), row, path);
  }
}

/** `paths` in path order, without those that are below another one. */
function outermost(paths: readonly Uint8Array[]): Uint8Array[] {
  const kept: Uint8Array[] = [];
  let above: Uint8Array | undefined;
  for (const key of paths.map(orderKey).sort(compareBytes)) {
    if (above !== undefined && compareBytes(key.subarray(0, above.length), above) === 0) continue;
    above = key;
    kept.push(pathOfKey(key));
  }
  return kept;
}

/**
 * The path with NUL for "/", which sorts before every byte of a name, and a NUL at the end: a prefix of all paths below
 * it.
 */
function orderKey(path: Uint8Array): Uint8Array {
  const key = new Uint8Array(path.length === 1 ? 1 : path.length + 1);
  path.forEach((byte, i) => {
    key[i] = byte === SLASH ? 0 : byte;
  });
  return key;
}

function pathOfKey(key: Uint8Array): Uint8Array {
  const path = key.map((byte) => (byte === 0 ? SLASH : byte));
  return path.length === 1 ? path : path.subarray(0, -1);
}

/** @param firstLink escaped path of the inode's first link, if that is another one */
function lineOf(tables: ManifestTables, row: number, path: string, firstLink: string | undefined): string {
  const { mode, nlink, uid, gid, rdev, size, mtime, mtimeNsec } = tables.inodes;
  const { payload, content, digest } = contentOf(tables, row);
  const hardLink = firstLink === undefined ? '' : '@';
  const numbers = `${u64(size, row)} ${hardLink}${(mode[row] as number).toString(8)} ${nlink[row]} ${uid[row]} ${gid[row]} ${rdev[row]} ${i64(mtime, row)}.${mtimeNsec[row]}`;
  return `${path} ${numbers} ${firstLink ?? payload} ${content} ${digest}${xattrFields(tables, row)}\n`;
}

interface ContentFields {
  readonly payload: string;
  readonly content: string;
  readonly digest: string;
}

const NO_CONTENT: ContentFields = { payload: UNSET, content: UNSET, digest: UNSET };

function contentOf(tables: ManifestTables, row: number): ContentFields {
  const type = (tables.inodes.mode[row] as number) & S_IFMT;
  if (type === S_IFLNK) return { ...NO_CONTENT, payload: escapeField(linkTarget(tables, row)) };
  const inline = inlineOf(tables, row);
  if (inline !== undefined && inline.length > 0) return { ...NO_CONTENT, content: escapeField(inline) };
  const object = objectOf(tables, row);
  if (object < 0) return NO_CONTENT;
  const hex = objectHex(tables, object);
  return {
    payload: `${hex.slice(0, 2)}/${hex.slice(2)}`,
    content: UNSET,
    digest: tables.header.hash === 'fsverity-sha256' ? hex : UNSET,
  };
}

function xattrFields(tables: ManifestTables, row: number): string {
  let fields = '';
  for (const [name, value] of xattrsOf(tables, row)) {
    fields += ` ${escapeBytes(name, XATTR_ESCAPES)}=${escapeBytes(value, XATTR_ESCAPES)}`;
  }
  return fields;
}

const NAMED_ESCAPES: ReadonlyMap<number, string> = new Map([
  [0x5c, '\\\\'],
  [0x0a, '\\n'],
  [0x0d, '\\r'],
  [0x09, '\\t'],
]);

const hexEscape = (byte: number): string => `\\x${byte.toString(16).padStart(2, '0')}`;

/** The escaped form of each byte in a field: the byte itself if it is graphic ASCII. */
const FIELD_ESCAPES: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const graphic = byte > 0x20 && byte < 0x7f;
  return NAMED_ESCAPES.get(byte) ?? (graphic ? String.fromCharCode(byte) : hexEscape(byte));
});

/** The same for KEY and VALUE, where "=" is escaped, too. */
const XATTR_ESCAPES: readonly string[] = FIELD_ESCAPES.map((text) => (text === '=' ? hexEscape(0x3d) : text));

const escapeField = (bytes: Uint8Array): string => escapeBytes(bytes, FIELD_ESCAPES);

function escapeBytes(bytes: Uint8Array, escapes: readonly string[]): string {
  let out = '';
  for (let i = 0; i < bytes.length; i++) out += escapes[bytes[i] as number];
  return out === UNSET ? hexEscape(0x2d) : out;
}
