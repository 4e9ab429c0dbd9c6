/**
 * The structures of include/uapi/linux/fuse.h that a writable mount receives and sends, field by field in the header's
 * order. Kernel names are kept.
 */
import type { WritableAttributes } from '../../../src/fs/writable-filesystem.ts';
import { struct, u16, u32, u64, zeros } from './kernel-structs.ts';

type Time = 'atime' | 'mtime' | 'ctime' | 'btime';
const secondsOf = (a: WritableAttributes, time: Time): bigint =>
  (BigInt(a[`${time}High`]) << 32n) | BigInt(a[`${time}Low`]);

export const FOREVER = 2 ** 31 - 1;

/** struct fuse_attr */
export const fuseAttr = (a: WritableAttributes): Buffer =>
  struct(
    u64(a.shownIno),
    u64(a.size),
    u64(a.blocks),
    u64(secondsOf(a, 'atime')),
    u64(secondsOf(a, 'mtime')),
    u64(secondsOf(a, 'ctime')),
    u32(a.atimeNsec),
    u32(a.mtimeNsec),
    u32(a.ctimeNsec),
    u32(a.mode),
    u32(a.nlink),
    u32(a.uid),
    u32(a.gid),
    u32(a.rdev),
    u32(4096), // blksize
    u32(0), // flags
  );

/** struct fuse_entry_out */
export const fuseEntryOut = (a: WritableAttributes): Buffer =>
  struct(u64(a.ino), u64(a.generation), u64(FOREVER), u64(a.ttl), u32(0), u32(0), fuseAttr(a));

/** struct fuse_attr_out */
export const fuseAttrOut = (a: WritableAttributes): Buffer => struct(u64(a.ttl), u32(0), u32(0), fuseAttr(a));

const fuseSxTime = (a: WritableAttributes, time: Time): Buffer =>
  struct(u64(secondsOf(a, time)), u32(a[`${time}Nsec`]), u32(0));

/** struct fuse_statx_out */
export const fuseStatxOut = (a: WritableAttributes, mask: number): Buffer =>
  struct(
    u64(a.ttl), // attr_valid
    u32(0), // attr_valid_nsec
    u32(0), // flags
    zeros(16), // spare[2]
    u32(mask),
    u32(4096), // blksize
    u64(0), // attributes
    u32(a.nlink),
    u32(a.uid),
    u32(a.gid),
    u16(a.mode),
    u16(0), // __spare0
    u64(a.shownIno),
    u64(a.size),
    u64(a.blocks),
    u64(0), // attributes_mask
    fuseSxTime(a, 'atime'),
    fuseSxTime(a, 'btime'),
    fuseSxTime(a, 'ctime'),
    fuseSxTime(a, 'mtime'),
    u32(0), // rdev_major
    u32(0), // rdev_minor
    u32(0), // dev_major
    u32(0), // dev_minor
    zeros(112), // __spare2[14]
  );

export const name = (text: string): Buffer => Buffer.from(`${text}\0`);

/** struct fuse_setattr_in; a field that is not given has a pattern, so that its use is noticed */
export const fuseSetattrIn = (
  valid: number,
  {
    size = 0x1111,
    atime = 0x2222n,
    mtime = 0x3333n,
    ctime = 0x4444n,
    atimensec = 5,
    mtimensec = 6,
    ctimensec = 7,
    mode = 0o104711,
    uid = 88,
    gid = 99,
  } = {},
): Buffer =>
  struct(
    u32(valid),
    u32(0), // padding
    u64(0xfefe), // fh
    u64(size),
    u64(0xabab), // lock_owner
    u64(atime),
    u64(mtime),
    u64(ctime),
    u32(atimensec),
    u32(mtimensec),
    u32(ctimensec),
    u32(mode),
    u32(0), // unused4
    u32(uid),
    u32(gid),
    u32(0), // unused5
  );

export const fuseMknodIn = (mode: number, rdev: number, umask: number): Buffer =>
  struct(u32(mode), u32(rdev), u32(umask), u32(0));
export const fuseMkdirIn = (mode: number, umask: number): Buffer => struct(u32(mode), u32(umask));
export const fuseRename2In = (newdir: number, flags: number): Buffer => struct(u64(newdir), u32(flags), u32(0));
export const fuseOpenIn = (flags: number, openFlags = 0): Buffer => struct(u32(flags), u32(openFlags));
export const fuseCreateIn = (flags: number, mode: number, umask: number, openFlags = 0): Buffer =>
  struct(u32(flags), u32(mode), u32(umask), u32(openFlags));
export const fuseReleaseIn = (fh: number | bigint, flags = 0): Buffer =>
  struct(u64(fh), u32(flags), u32(0), u64(0xabab));
export const fuseWriteIn = (offset: number | bigint, size: number, writeFlags = 0, flags = 0): Buffer =>
  struct(u64(0), u64(offset), u32(size), u32(writeFlags), u64(0xabab), u32(flags), u32(0));
export const fuseFsyncIn = (flags: number): Buffer => struct(u64(0), u32(flags), u32(0));
export const fuseSetxattrIn = (size: number, flags: number, setxattrFlags = 0): Buffer =>
  struct(u32(size), u32(flags), u32(setxattrFlags), u32(0));
export const fuseFallocateIn = (offset: number | bigint, length: number | bigint, mode: number): Buffer =>
  struct(u64(0), u64(offset), u64(length), u32(mode), u32(0));
export const fuseLseekIn = (offset: number, whence: number): Buffer => struct(u64(0), u64(offset), u32(whence), u32(0));
export const fuseCopyFileRangeIn = (
  from: number | bigint,
  ino: number,
  to: number | bigint,
  length: number | bigint,
  flags = 0,
): Buffer => struct(u64(1), u64(from), u64(ino), u64(2), u64(to), u64(length), u64(flags));
export const fuseBatchForgetIn = (count: number, ...items: readonly (readonly [number, number])[]): Buffer =>
  struct(u32(count), u32(0), ...items.map(([nodeid, nlookup]) => struct(u64(nodeid), u64(nlookup))));
