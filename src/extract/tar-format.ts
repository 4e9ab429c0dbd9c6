/**
 * The headers of members of a tar archive in the pax format (POSIX.1-2017, pax, "pax Interchange Format"). Xattrs and
 * ACLs are as star writes them (`SCHILY.xattr.*`, `SCHILY.acl.*`), which GNU tar and libarchive read; sparse files as
 * GNU tar writes them ("PAX Format, Version 1.0" in its manual). Pure.
 */
import { exactUtf8 } from '../base/bytes.ts';

export const BLOCK = 512;
/** The end of an archive is filled up to a multiple of this, as GNU tar does (-b 20). */
export const RECORD: number = 20 * BLOCK;

/** Types of members. */
export const FILE = 0x30;
export const LINK = 0x31;
export const SYMLINK = 0x32;
export const CHARACTER_DEVICE = 0x33;
export const BLOCK_DEVICE = 0x34;
export const DIRECTORY = 0x35;
export const FIFO = 0x36;
const EXTENDED = 0x78;

/** One member, without its data. Names and targets are bytes. */
export interface TarMember {
  readonly type: number;
  /** Relative; that of a directory ends with a slash. */
  readonly path: Uint8Array;
  /** The permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970, and nanoseconds. */
  readonly mtime: bigint;
  readonly mtimeNsec: number;
  /** Of the data in the archive; for a sparse file without the map. */
  readonly size: number;
  /** Of a hard or symbolic link. */
  readonly target?: Uint8Array;
  /** Of a device. */
  readonly device?: { readonly major: number; readonly minor: number };
  readonly xattrs?: readonly (readonly [name: Uint8Array, value: Uint8Array])[];
  /** Of a file with holes: where its data is, in order. */
  readonly sparse?: { readonly size: number; readonly data: readonly (readonly [offset: number, length: number])[] };
}

type PaxRecord = readonly [key: string | Uint8Array, value: string | Uint8Array];

const NAME_BYTES = 100;
const PREFIX_BYTES = 155;
const SLASH = 0x2f;
/** The largest numbers of fields of 8 and of 12 bytes. */
const MOST_8 = 0o7777777;
const MOST_12 = 0o77777777777;

/** All blocks before the data of a member: extended header, header, and the map of a sparse file. */
export function headersOf(member: TarMember): Uint8Array {
  const map = member.sparse === undefined ? EMPTY : padded(Buffer.from(mapText(member.sparse.data)));
  const size = map.length + member.size;
  const records = recordsOf(member, size);
  const own = headerOf(member, size);
  if (records.length === 0) return own;
  const text = Buffer.concat(records.map(encodeRecord));
  const extended: TarMember = {
    type: EXTENDED,
    path: Buffer.concat([Buffer.from('PaxHeaders/'), baseOf(member.path).subarray(0, NAME_BYTES - 11)]),
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: 0n,
    mtimeNsec: 0,
    size: text.length,
  };
  return Buffer.concat([headerOf(extended, text.length), padded(text), own, map]);
}

/** The number of NUL bytes after data of this size. */
export const paddingOf = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

/** The end of an archive of `length` bytes. */
export const endOf = (length: number): Uint8Array => {
  const end = 2 * BLOCK;
  return new Uint8Array(end + ((RECORD - ((length + end) % RECORD)) % RECORD));
};

const EMPTY: Uint8Array = new Uint8Array();
const padded = (bytes: Uint8Array): Uint8Array => Buffer.concat([bytes, new Uint8Array(paddingOf(bytes.length))]);

/** The number of areas, then offset and length of each, a line each. A hole at the end is followed by an empty area. */
const mapText = (data: readonly (readonly [number, number])[]): string =>
  `${data.length}\n${data.map(([offset, length]) => `${offset}\n${length}\n`).join('')}`;

function recordsOf(member: TarMember, size: number): PaxRecord[] {
  const { path, target, uid, gid, mtime, mtimeNsec, sparse, xattrs = [] } = member;
  const records: PaxRecord[] = [];
  const long: PaxRecord[] = [];
  if (sparse !== undefined) {
    records.push(['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0']);
    long.push(['GNU.sparse.name', path], ['GNU.sparse.realsize', `${sparse.size}`]);
  } else if (splitPath(path) === undefined) {
    long.push(['path', path]);
  }
  if (target !== undefined && target.length > NAME_BYTES) long.push(['linkpath', target]);
  // otherwise libarchive takes them for UTF-8
  if (long.some(([, value]) => typeof value !== 'string' && exactUtf8(value) === undefined)) {
    records.push(['hdrcharset', 'BINARY']);
  }
  records.push(...long);
  if (size > MOST_12) records.push(['size', `${size}`]);
  if (uid > MOST_8) records.push(['uid', `${uid}`]);
  if (gid > MOST_8) records.push(['gid', `${gid}`]);
  if (mtimeNsec !== 0 || mtime < 0n || mtime > BigInt(MOST_12)) records.push(['mtime', timeText(mtime, mtimeNsec)]);
  for (const [name, value] of xattrs) records.push(xattrRecord(name, value));
  return records;
}

const encodeRecord = ([key, value]: PaxRecord): Uint8Array => {
  const body = Buffer.concat([Buffer.from(' '), bytesOf(key), Buffer.from('='), bytesOf(value), Buffer.from('\n')]);
  // the length includes its own digits
  let length = body.length + 1;
  while (`${length}`.length + body.length !== length) length = `${length}`.length + body.length;
  return Buffer.concat([Buffer.from(`${length}`), body]);
};

const bytesOf = (value: string | Uint8Array): Uint8Array => (typeof value === 'string' ? Buffer.from(value) : value);

/** A decimal number, exact: -0.5 is half a second before 1970. */
export function timeText(seconds: bigint, nanoseconds: number): string {
  if (nanoseconds === 0) return `${seconds}`;
  const isBefore = seconds < 0n;
  const whole = isBefore ? -seconds - 1n : seconds;
  const fraction = isBefore ? 1_000_000_000 - nanoseconds : nanoseconds;
  return `${isBefore ? '-' : ''}${whole}.${`${fraction}`.padStart(9, '0')}`.replace(/0+$/, '');
}

const ACLS: ReadonlyMap<string, string> = new Map([
  ['system.posix_acl_access', 'SCHILY.acl.access'],
  ['system.posix_acl_default', 'SCHILY.acl.default'],
]);

function xattrRecord(name: Uint8Array, value: Uint8Array): PaxRecord {
  const acl = ACLS.get(Buffer.from(name).toString('latin1'));
  const text = acl === undefined ? undefined : aclText(value);
  if (acl !== undefined && text !== undefined) return [acl, text];
  // as GNU tar does, since a key ends at the first "="
  const key = Buffer.from(name).toString('latin1').replaceAll('%', '%25').replaceAll('=', '%3D');
  return [Buffer.from(`SCHILY.xattr.${key}`, 'latin1'), value];
}

const ACL_VERSION = 2;
const ACL_TAGS: Readonly<Record<number, string>> = {
  1: 'user:',
  2: 'user:',
  4: 'group:',
  8: 'group:',
  16: 'mask:',
  32: 'other:',
};
const NAMED: ReadonlySet<number> = new Set([2, 8]);

/**
 * A POSIX ACL of the kernel (include/uapi/linux/posix_acl_xattr.h) as text, with numbers for users and groups.
 * Undefined if it is none.
 */
export function aclText(value: Uint8Array): string | undefined {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
  if (bytes.length < 4 || bytes.length % 8 !== 4 || bytes.readUInt32LE(0) !== ACL_VERSION) return undefined;
  const entries: string[] = [];
  for (let at = 4; at < bytes.length; at += 8) {
    const tag = bytes.readUInt16LE(at);
    const permissions = bytes.readUInt16LE(at + 2);
    const word = ACL_TAGS[tag];
    if (word === undefined) return undefined;
    const id = NAMED.has(tag) ? `${bytes.readUInt32LE(at + 4)}` : '';
    const bits = ['r', 'w', 'x'].map((letter, i) => ((permissions & (4 >> i)) === 0 ? '-' : letter)).join('');
    entries.push(`${word}${id}:${bits}`);
  }
  return entries.join(',');
}

const baseOf = (path: Uint8Array): Uint8Array => {
  const end = path.at(-1) === SLASH ? path.length - 1 : path.length;
  return path.subarray(path.subarray(0, end).lastIndexOf(SLASH) + 1, end);
};

/** The fields `prefix` and `name`; undefined if the path does not fit. */
function splitPath(path: Uint8Array): readonly [prefix: Uint8Array, name: Uint8Array] | undefined {
  if (path.length <= NAME_BYTES) return [EMPTY, path];
  const slash = path.indexOf(SLASH, path.length - NAME_BYTES - 1);
  if (slash <= 0 || slash > PREFIX_BYTES || slash === path.length - 1) return undefined;
  return [path.subarray(0, slash), path.subarray(slash + 1)];
}

function headerOf(member: TarMember, size: number): Buffer {
  const { type, path, mode, uid, gid, mtime, target = EMPTY, device, sparse } = member;
  const block = Buffer.alloc(BLOCK);
  // programs without support for sparse files must not take what they unpack for the file
  const shown = sparse === undefined ? path : Buffer.concat([Buffer.from('GNUSparseFile.0/'), baseOf(path)]);
  const [prefix, name] = splitPath(shown) ?? [EMPTY, shown.subarray(0, NAME_BYTES)];
  block.set(name, 0);
  block.set(prefix, 345);
  octal(block, 100, 8, mode);
  octal(block, 108, 8, uid > MOST_8 ? 0 : uid);
  octal(block, 116, 8, gid > MOST_8 ? 0 : gid);
  octal(block, 124, 12, size > MOST_12 ? 0 : size);
  octal(block, 136, 12, mtime < 0n || mtime > BigInt(MOST_12) ? 0 : Number(mtime));
  block[156] = type;
  block.set(target.subarray(0, NAME_BYTES), 157);
  block.write('ustar\x0000', 257, 'latin1');
  octal(block, 329, 8, device?.major ?? 0);
  octal(block, 337, 8, device?.minor ?? 0);
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += block[i] as number;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
}
