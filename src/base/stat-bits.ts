/** Bits of st_mode, and the two forms of a device number. */

/** The type of a file, in its mode (inode(7)). */
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;

/** Permissions to write, of the group and of others. */
export const S_IWGRP = 0o020;
export const S_IWOTH = 0o002;

/** All bits of a mode but the type. */
export const PERMISSIONS = 0o7777;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_IXGRP = 0o010;

/** Whether a mode has set-id bits, which a change of owner removes. */
export const hasSetIds = (mode: number): boolean => (mode & (S_ISUID | S_ISGID)) !== 0;

export interface DeviceNumbers {
  readonly major: number;
  readonly minor: number;
}

/**
 * The kernel's 32 bits of a device (new_encode_dev, include/linux/kdev_t.h): the low 32 bits of the result of
 * `makeDevice`.
 */
export const encodeDevice = (major: number, minor: number): number =>
  ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;

/** The other way round (new_decode_dev). */
export const majorOf = (device: number): number => (device >>> 8) & 0xfff;
export const minorOf = (device: number): number => (device & 0xff) | ((device >>> 12) & 0xfff00);

/** The 64 bits of a device as stat(2) has it (gnu_dev_makedev(3)). */
export function makeDevice({ major, minor }: DeviceNumbers): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)];
  return (low & 0xffn) | ((high & 0xfffn) << 8n) | ((low & ~0xffn) << 12n) | ((high & ~0xfffn) << 32n);
}
