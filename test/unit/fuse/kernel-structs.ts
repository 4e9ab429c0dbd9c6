/**
 * The structures of include/uapi/linux/fuse.h, field by field in the header's order. Tests compare the offsets in src
 * with them. Kernel names are kept.
 */
import type { Attributes } from '../../../src/fs/filesystem.ts';

export const u16 = (value: number): Buffer => {
  const out = Buffer.alloc(2);
  out.writeUInt16LE(value);
  return out;
};

export const u32 = (value: number): Buffer => {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value >>> 0);
  return out;
};

export const u64 = (value: number | bigint): Buffer => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
  return out;
};

export const struct = (...fields: readonly Uint8Array[]): Buffer => Buffer.concat(fields);
export const zeros = (length: number): Buffer => Buffer.alloc(length);

/** The largest number of seconds that a 32-bit kernel accepts. */
export const FOREVER = 2 ** 31 - 1;

const mtimeOf = (a: Attributes): bigint => (BigInt(a.mtimeHigh) << 32n) | BigInt(a.mtimeLow);
const ctimeOf = (a: Attributes): bigint => (BigInt(a.ctimeHigh) << 32n) | BigInt(a.ctimeLow);

/** struct fuse_in_header, followed by the body. */
export function fuseRequest(
  opcode: number,
  nodeid: number | bigint,
  body: Uint8Array = Buffer.alloc(0),
  unique: number | bigint = 2,
): Buffer {
  return struct(
    u32(40 + body.length), // len
    u32(opcode),
    u64(unique),
    u64(nodeid),
    u32(1000), // uid
    u32(1000), // gid
    u32(4242), // pid
    u16(0), // total_extlen
    u16(0), // padding
    body,
  );
}

/** struct fuse_out_header */
export const fuseOutHeader = (payload: number, error: number, unique: number | bigint): Buffer =>
  struct(u32(16 + payload), u32(error), u64(unique));

/** struct fuse_attr */
export const fuseAttr = (a: Attributes): Buffer =>
  struct(
    u64(a.shownIno),
    u64(a.size),
    u64(a.blocks), // blocks
    u64(mtimeOf(a)), // atime
    u64(mtimeOf(a)), // mtime
    u64(ctimeOf(a)), // ctime
    u32(a.mtimeNsec), // atimensec
    u32(a.mtimeNsec), // mtimensec
    u32(a.ctimeNsec), // ctimensec
    u32(a.mode),
    u32(a.nlink),
    u32(a.uid),
    u32(a.gid),
    u32(a.rdev),
    u32(4096), // blksize
    u32(0), // flags
  );

/** struct fuse_entry_out */
export const fuseEntryOut = (a: Attributes): Buffer =>
  struct(
    u64(a.ino), // nodeid
    u64(a.generation),
    u64(FOREVER), // entry_valid
    u64(FOREVER), // attr_valid
    u32(0), // entry_valid_nsec
    u32(0), // attr_valid_nsec
    fuseAttr(a),
  );

/** struct fuse_entry_out of a name that does not exist; the kernel may cache it without limit */
export const negativeEntryOut: Buffer = struct(u64(0), u64(0), u64(FOREVER), u64(0), u32(0), u32(0), zeros(88));

/** struct fuse_attr_out */
export const fuseAttrOut = (a: Attributes): Buffer => struct(u64(FOREVER), u32(0), u32(0), fuseAttr(a));

/** struct fuse_open_out */
export const fuseOpenOut = (fh: number | bigint, openFlags: number, backingId: number): Buffer =>
  struct(u64(fh), u32(openFlags), u32(backingId));

/** struct fuse_dirent */
export function fuseDirent(ino: number, off: number, type: number, name: Uint8Array): Buffer {
  const record = struct(u64(ino), u64(off), u32(name.length), u32(type), name);
  return struct(record, zeros((8 - (record.length % 8)) % 8)); // FUSE_REC_ALIGN
}

/** struct fuse_sx_time */
const fuseSxTime = (seconds: bigint, nsec: number): Buffer => struct(u64(seconds), u32(nsec), u32(0));

/** struct fuse_statx_out with STATX_BASIC_STATS; `major` and `minor` are rdev's */
export const fuseStatxOut = (a: Attributes, major: number, minor: number): Buffer =>
  struct(
    u64(FOREVER), // attr_valid
    u32(0), // attr_valid_nsec
    u32(0), // flags
    zeros(16), // spare[2]
    u32(0x7ff), // mask
    u32(4096), // blksize
    u64(0), // attributes
    u32(a.nlink),
    u32(a.uid),
    u32(a.gid),
    u16(a.mode),
    u16(0), // __spare0
    u64(a.shownIno),
    u64(a.size),
    u64(a.blocks), // blocks
    u64(0), // attributes_mask
    fuseSxTime(mtimeOf(a), a.mtimeNsec), // atime
    fuseSxTime(0n, 0), // btime
    fuseSxTime(ctimeOf(a), a.ctimeNsec), // ctime
    fuseSxTime(mtimeOf(a), a.mtimeNsec), // mtime
    u32(major), // rdev_major
    u32(minor), // rdev_minor
    u32(0), // dev_major
    u32(0), // dev_minor
    zeros(112), // __spare2[14]
  );

/** struct fuse_init_in */
export const fuseInitIn = (minor: number, flags: number, flags2: number, major = 7): Buffer =>
  struct(u32(major), u32(minor), u32(0x20000), u32(flags), u32(flags2), zeros(44));

/** struct fuse_read_in, as for READ, READDIR and READDIRPLUS */
export const fuseReadIn = (fh: number | bigint, offset: number | bigint, size: number): Buffer =>
  struct(u64(fh), u64(offset), u32(size), u32(0), u64(0), u32(0), u32(0));
