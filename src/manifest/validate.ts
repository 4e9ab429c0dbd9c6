/**
 * Checks every invariant of the tables that a reader relies on, in time linear in the rows. docs/manifest.md, "What a
 * reader must check", explains each check.
 *
 * Each function returns a sentence that names table and row, or undefined.
 */
import { compareBytes, printable } from '../base/bytes.ts';
import { blockCount, DIGEST_SIZE } from '../base/digest.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK } from '../base/stat-bits.ts';
import { ROOT_ID } from './stable-id.ts';
import { INLINE_LIMIT, inodeCount, type ManifestTables, NONE, objectCount, PAYLOAD_INLINE, u64 } from './tables.ts';

type Problem = string | undefined;

const NAME_MAX = 255;
const TARGET_MAX = 4095;
const XATTR_VALUE_MAX = 65536;
const XATTR_LIST_MAX = 65536;
const NSEC_PER_SEC = 1_000_000_000;
const MAX_SAFE_HIGH = 0x1f_ffff;
const MAX_ID_HIGH = 0xf_ffff;

export function validateTables(tables: ManifestTables): Problem {
  return (
    checkColumnLengths(tables) ??
    checkOffsets('targets.offset', tables.targets.offset, tables.targets.bytes.length) ??
    checkOffsets('inline.offset', tables.inline.offset, tables.inline.bytes.length) ??
    checkOffsets('dirents.nameOffset', tables.dirents.nameOffset, tables.dirents.names.length) ??
    checkOffsets('directories.first', tables.directories.first, tables.dirents.inode.length) ??
    checkOffsets('xattrs.nameOffset', tables.xattrs.nameOffset, tables.xattrs.names.length) ??
    checkOffsets('xattrs.valueOffset', tables.xattrs.valueOffset, tables.xattrs.values.length) ??
    checkOffsets('xattrs.first', tables.xattrs.first, tables.xattrs.nameOffset.length - 1) ??
    checkObjects(tables) ??
    checkTargets(tables) ??
    checkXattrSets(tables) ??
    checkInodes(tables) ??
    checkDirents(tables) ??
    checkTree(tables)
  );
}

/** Columns of one table have one length; offset columns have one row more. */
function checkColumnLengths(tables: ManifestTables): Problem {
  const rows = tables.inodes.mode.length;
  if (rows === 0) return 'inodes has no rows, not even the root';
  for (const [name, column] of Object.entries(tables.inodes)) {
    const wide = name === 'id' || name === 'size' || name === 'mtime';
    const length = wide ? column.length / 2 : column.length;
    if (length !== rows) return `inodes.${name} has ${length} rows, inodes.mode ${rows}`;
  }
  const { directories, dirents, objects, xattrs } = tables;
  const expect: readonly [string, number, number][] = [
    ['directories.parent', directories.parent.length, directories.inode.length],
    ['directories.first', directories.first.length, directories.inode.length + 1],
    ['dirents.nameOffset', dirents.nameOffset.length, dirents.inode.length + 1],
    ['objects.digest (bytes)', objects.digest.length, (objects.size.length / 2) * DIGEST_SIZE],
    ['xattrs.valueOffset', xattrs.valueOffset.length, xattrs.nameOffset.length],
  ];
  for (const [name, length, wanted] of expect) {
    if (length !== wanted) return `${name} has length ${length}; by the other columns it must be ${wanted}`;
  }
  return undefined;
}

function checkOffsets(name: string, offsets: Uint32Array, end: number): Problem {
  if (offsets.length === 0) return `${name} is empty; it must hold at least one offset`;
  if (offsets[0] !== 0) return `${name} row 0 is ${offsets[0]}, not 0`;
  for (let i = 1; i < offsets.length; i++) {
    if ((offsets[i] as number) < (offsets[i - 1] as number)) return `${name} row ${i} is less than the row before`;
  }
  const last = offsets[offsets.length - 1] as number;
  return last === end ? undefined : `${name} ends with ${last}; the column that it points into has ${end}`;
}

function checkObjects(tables: ManifestTables): Problem {
  const { digest, size, blockHashes } = tables.objects;
  const { hash } = tables.header;
  let blocks = 0;
  for (let i = 0; i < size.length / 2; i++) {
    if ((size[i * 2 + 1] as number) > MAX_SAFE_HIGH) return `objects row ${i}: its size is 2^53 or more`;
    const bytes = u64(size, i);
    if (bytes === 0) return `objects row ${i} is empty; an empty file needs no object`;
    blocks += blockCount(hash, bytes);
    if (i === 0) continue;
    const at = i * DIGEST_SIZE;
    let order = 0;
    for (let k = 0; k < DIGEST_SIZE && order === 0; k++) {
      order = (digest[at + k] as number) - (digest[at - DIGEST_SIZE + k] as number);
    }
    if (order === 0) return `objects row ${i} has the digest of the row before`;
    if (order < 0) return `objects row ${i} is not sorted by digest`;
  }
  return blockHashes.length === blocks * DIGEST_SIZE
    ? undefined
    : `objects.blockHashes has ${blockHashes.length} bytes; the objects' sizes need ${blocks * DIGEST_SIZE}`;
}

function checkTargets(tables: ManifestTables): Problem {
  const { offset, bytes } = tables.targets;
  for (let i = 0; i + 1 < offset.length; i++) {
    const target = bytes.subarray(offset[i] as number, offset[i + 1] as number);
    if (target.length === 0) return `targets row ${i} is empty`;
    if (target.length > TARGET_MAX) return `targets row ${i} is longer than ${TARGET_MAX} bytes`;
    if (target.includes(0)) return `targets row ${i} contains NUL`;
  }
  return undefined;
}

const xattrPrefixes = ['user.', 'trusted.', 'security.'].map((prefix) => Buffer.from(prefix));
const xattrNames = ['system.posix_acl_access', 'system.posix_acl_default'].map((name) => Buffer.from(name));

function isXattrName(name: Uint8Array): boolean {
  return (
    xattrPrefixes.some((p) => name.length > p.length && compareBytes(name.subarray(0, p.length), p) === 0) ||
    xattrNames.some((n) => compareBytes(name, n) === 0)
  );
}

function checkXattrSets(tables: ManifestTables): Problem {
  const { first, nameOffset, names, valueOffset } = tables.xattrs;
  for (let set = 0; set + 1 < first.length; set++) {
    const from = first[set] as number;
    const to = first[set + 1] as number;
    if (from === to) return `xattrs.first row ${set} is an empty set`;
    let list = 0;
    let before: Uint8Array | undefined;
    for (let i = from; i < to; i++) {
      const name = names.subarray(nameOffset[i] as number, nameOffset[i + 1] as number);
      if (name.length > NAME_MAX || name.includes(0) || !isXattrName(name)) {
        return `xattrs row ${i}: "${printable(name.subarray(0, NAME_MAX))}" is not an attribute name of the namespaces user, trusted, security or system.posix_acl_*`;
      }
      if (before !== undefined && compareBytes(before, name) >= 0) return `xattrs row ${i} is not sorted by name`;
      before = name;
      list += name.length + 1;
      if ((valueOffset[i + 1] as number) - (valueOffset[i] as number) > XATTR_VALUE_MAX) {
        return `xattrs row ${i}: its value is longer than ${XATTR_VALUE_MAX} bytes`;
      }
    }
    if (list > XATTR_LIST_MAX) return `xattrs.first row ${set}: the names take more than ${XATTR_LIST_MAX} bytes`;
  }
  return undefined;
}

/** How many rows of each kind the inodes have used so far. */
interface Counters {
  directories: number;
  targets: number;
  inline: number;
  readonly objectUsed: Uint8Array;
}

function checkInodes(tables: ManifestTables): Problem {
  const { id, generation, mode, mtimeNsec, xattrs } = tables.inodes;
  if (id[0] !== ROOT_ID || id[1] !== 0) return `inodes row 0 has id ${u64(id, 0)}; the root's is ${ROOT_ID}`;
  if (generation[0] !== 0) return "inodes row 0: the root's generation is not 0";
  if (((mode[0] as number) & S_IFMT) !== S_IFDIR) return 'inodes row 0, the root, is not a directory';
  const sets = tables.xattrs.first.length - 1;
  const counters: Counters = {
    directories: 0,
    targets: 0,
    inline: 0,
    objectUsed: new Uint8Array(objectCount(tables)),
  };
  for (let row = 0; row < mode.length; row++) {
    if (row > 0 && u64(id, row) <= u64(id, row - 1)) return `inodes row ${row} is not sorted by id`;
    if ((id[row * 2 + 1] as number) > MAX_ID_HIGH) return `inodes row ${row}: its id is 2^52 or more`;
    if ((mtimeNsec[row] as number) >= NSEC_PER_SEC) return `inodes row ${row}: mtimeNsec is a second or more`;
    if ((xattrs[row] as number) >= sets && xattrs[row] !== NONE) {
      return `inodes row ${row} names xattr set ${xattrs[row]}; there are ${sets}`;
    }
    const problem = checkPayload(tables, row, counters);
    if (problem !== undefined) return `inodes row ${row}: ${problem}`;
  }
  if (counters.directories !== tables.directories.inode.length) return 'directories has rows that no inode names';
  if (counters.targets !== tables.targets.offset.length - 1) return 'targets has rows that no inode names';
  if (counters.inline !== tables.inline.offset.length - 1) return 'inline has rows that no inode names';
  const unused = counters.objectUsed.indexOf(0);
  return unused < 0 ? undefined : `objects row ${unused} belongs to no inode`;
}

/** Type, size, device number and payload of one inode. */
function checkPayload(tables: ManifestTables, row: number, counters: Counters): Problem {
  const { mode, size, rdev, payload, generation } = tables.inodes;
  const m = mode[row] as number;
  const p = payload[row] as number;
  const type = m & S_IFMT;
  if (m > 0o177777) return `mode 0${m.toString(8)} has unknown bits`;
  if ((size[row * 2 + 1] as number) > MAX_SAFE_HIGH) return 'its size is 2^53 or more';
  const bytes = u64(size, row);
  if (type !== S_IFCHR && type !== S_IFBLK && rdev[row] !== 0) return 'it has a device number but is not a device';
  switch (type) {
    case S_IFREG:
      return checkRegular(tables, p, bytes, counters);
    case S_IFDIR:
      if (bytes !== 0) return 'a directory with a size';
      if (generation[row] !== 0) return 'a directory with a generation other than 0';
      if (p !== counters.directories || tables.directories.inode[p] !== row) {
        return `its payload is directory ${p}; in inode order it must be ${counters.directories}, and point back`;
      }
      counters.directories++;
      return undefined;
    case S_IFLNK: {
      const { offset } = tables.targets;
      if (p !== counters.targets || p + 1 >= offset.length) {
        return `its payload is target ${p}; in inode order it must be ${counters.targets} of ${offset.length - 1}`;
      }
      counters.targets++;
      return bytes === (offset[p + 1] as number) - (offset[p] as number)
        ? undefined
        : "its size is not its target's length";
    }
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return p === NONE && bytes === 0 ? undefined : 'a device, fifo or socket with content';
    default:
      return `mode 0${m.toString(8)} has no known file type`;
  }
}

function checkRegular(tables: ManifestTables, payload: number, bytes: number, counters: Counters): Problem {
  if (payload === NONE) return bytes === 0 ? undefined : 'a regular file with a size and no content';
  if (payload < PAYLOAD_INLINE) {
    if (payload >= counters.objectUsed.length) {
      return `its payload is object ${payload}; there are ${counters.objectUsed.length}`;
    }
    counters.objectUsed[payload] = 1;
    return u64(tables.objects.size, payload) === bytes ? undefined : "its size is not its object's size";
  }
  const index = payload - PAYLOAD_INLINE;
  const { offset } = tables.inline;
  if (index !== counters.inline || index + 1 >= offset.length) {
    return `its payload is inline content ${index}; in inode order it must be ${counters.inline} of ${offset.length - 1}`;
  }
  counters.inline++;
  if (bytes === 0 || bytes > INLINE_LIMIT) return `inline content of ${bytes} bytes; 1 to ${INLINE_LIMIT} are allowed`;
  return (offset[index + 1] as number) - (offset[index] as number) === bytes
    ? undefined
    : "its size is not its inline content's length";
}

const SLASH = 0x2f;
const DOT = 0x2e;

/** Names and their order, and that every dirent points to an inode. */
function checkDirents(tables: ManifestTables): Problem {
  const { inode, names, nameOffset } = tables.dirents;
  const { first } = tables.directories;
  const inodes = inodeCount(tables);
  for (let directory = 0; directory + 1 < first.length; directory++) {
    const begin = first[directory] as number;
    const end = first[directory + 1] as number;
    for (let d = begin; d < end; d++) {
      if ((inode[d] as number) >= inodes) return `dirents row ${d} points to inode ${inode[d]}; there are ${inodes}`;
      const from = nameOffset[d] as number;
      const to = nameOffset[d + 1] as number;
      const problem = checkName(names, from, to);
      if (problem !== undefined) return `dirents row ${d}: ${problem}`;
      if (d > begin && compareRanges(names, nameOffset[d - 1] as number, from, from, to) >= 0) {
        return `dirents row ${d}: "${printable(names.subarray(from, to))}" does not sort after the name before it`;
      }
    }
  }
  return undefined;
}

function checkName(names: Uint8Array, from: number, to: number): Problem {
  const length = to - from;
  if (length === 0) return 'an empty name';
  if (length > NAME_MAX) return `a name of ${length} bytes; ${NAME_MAX} are allowed`;
  for (let i = from; i < to; i++) {
    if (names[i] === SLASH || names[i] === 0) {
      return `the name "${printable(names.subarray(from, to))}" contains ${names[i] === 0 ? 'NUL' : '"/"'}`;
    }
  }
  const dots = names[from] === DOT && (length === 1 || (length === 2 && names[from + 1] === DOT));
  return dots ? `the name "${printable(names.subarray(from, to))}" is reserved` : undefined;
}

function compareRanges(bytes: Uint8Array, a: number, aEnd: number, b: number, bEnd: number): number {
  let i = a;
  let j = b;
  for (; i < aEnd && j < bEnd; i++, j++) {
    const d = (bytes[i] as number) - (bytes[j] as number);
    if (d !== 0) return d;
  }
  return aEnd - i - (bEnd - j);
}

/** Link counts, parents, and that every directory is reachable from the root, once. */
function checkTree(tables: ManifestTables): Problem {
  const { nlink, payload, mode } = tables.inodes;
  const { first, parent, inode: directoryInode } = tables.directories;
  const { inode } = tables.dirents;
  const links = new Uint32Array(nlink.length);
  const subdirectories = new Uint32Array(directoryInode.length);
  for (let directory = 0; directory < directoryInode.length; directory++) {
    for (let d = first[directory] as number; d < (first[directory + 1] as number); d++) {
      const row = inode[d] as number;
      links[row] = (links[row] as number) + 1;
      if (((mode[row] as number) & S_IFMT) !== S_IFDIR) continue;
      subdirectories[directory] = (subdirectories[directory] as number) + 1;
      if (row === 0) return `dirents row ${d} points to the root: a directory cycle`;
      if ((links[row] as number) > 1) return `dirents row ${d} is a second link of directory inode ${row}`;
      if (parent[payload[row] as number] !== directoryInode[directory]) {
        return `directories row ${payload[row]}: its parent is not the directory that contains it`;
      }
    }
  }
  if (parent[0] !== 0) return "directories row 0: the root's parent is not the root";
  for (let row = 0; row < nlink.length; row++) {
    const directory = ((mode[row] as number) & S_IFMT) === S_IFDIR;
    if (row > 0 && links[row] === 0) return `inodes row ${row} is an orphan: no dirent points to it`;
    const expected = directory ? 2 + (subdirectories[payload[row] as number] as number) : (links[row] as number);
    if (nlink[row] !== expected) return `inodes row ${row}: nlink is ${nlink[row]}, the tree has ${expected}`;
  }
  return checkReachable(tables);
}

/**
 * Each directory but the root has one link, from its parent, so a directory that does not lead up to the root is in a
 * cycle.
 */
function checkReachable(tables: ManifestTables): Problem {
  const { payload } = tables.inodes;
  const { parent } = tables.directories;
  /** Of each directory: 1 if it is known to lead to the root. */
  const leads = new Uint8Array(parent.length);
  const way = new Uint32Array(parent.length);
  leads[0] = 1;
  for (let directory = 1; directory < parent.length; directory++) {
    let length = 0;
    for (let at = directory; leads[at] === 0; at = payload[parent[at] as number] as number) {
      if (length === parent.length)
        return `directories row ${directory} is not reachable from the root: a directory cycle`;
      way[length++] = at;
    }
    for (let i = 0; i < length; i++) leads[way[i] as number] = 1;
  }
  return undefined;
}
