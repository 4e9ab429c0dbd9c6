/** The uuid of a file's file system. */
import { readdirSync, statSync } from 'node:fs';
import { fromHex } from '../base/bytes.ts';
import { isErrno } from '../base/errno.ts';
import { ioctl } from './descriptors.ts';

/** FS_IOC_GETFSUUID, linux/fs.h (Linux 6.9): struct fsuuid2 is a length, then 16 bytes. */
const FS_IOC_GETFSUUID = 0x8011_1500;
const FSUUID2_SIZE = 17;
/**
 * BTRFS_IOC_FS_INFO, linux/btrfs.h: `fsid` comes after max_id and num_devices. btrfs does not support the other one.
 */
const BTRFS_IOC_FS_INFO = 0x8400_941f;
const BTRFS_FS_INFO_SIZE = 1024;
const BTRFS_FSID_OFFSET = 16;
const UUID_SIZE = 16;
const BY_UUID = '/dev/disk/by-uuid';

/**
 * Asks the kernel; before Linux 6.9, which has no such call, the links that udev keeps for block devices.
 * @param fd open for reading, not with O_PATH
 * @returns 16 bytes; undefined if the file system has no uuid, or it is unknown
 */
export function fileSystemUuid(fd: number, device: number): Uint8Array | undefined {
  return generic(fd) ?? btrfs(fd) ?? ofBlockDevice(device);
}

function generic(fd: number): Uint8Array | undefined {
  const bytes = Buffer.alloc(FSUUID2_SIZE);
  if (isErrno(ioctl(fd, FS_IOC_GETFSUUID, bytes)) || bytes[0] !== UUID_SIZE) return undefined;
  return nonZero(bytes.subarray(1));
}

function btrfs(fd: number): Uint8Array | undefined {
  const bytes = Buffer.alloc(BTRFS_FS_INFO_SIZE);
  if (isErrno(ioctl(fd, BTRFS_IOC_FS_INFO, bytes))) return undefined;
  return nonZero(bytes.subarray(BTRFS_FSID_OFFSET, BTRFS_FSID_OFFSET + UUID_SIZE));
}

const nonZero = (uuid: Uint8Array): Uint8Array | undefined =>
  uuid.some((byte) => byte !== 0) ? Uint8Array.from(uuid) : undefined;

/** Only names that are a whole uuid: FAT and NTFS have shorter ones. */
function ofBlockDevice(device: number): Uint8Array | undefined {
  try {
    for (const name of readdirSync(BY_UUID)) {
      const hex = name.replaceAll('-', '');
      if (/^[0-9a-f]{32}$/i.test(hex) && statSync(`${BY_UUID}/${name}`).rdev === device)
        return fromHex(hex.toLowerCase());
    }
  } catch {
    // no udev here
  }
  return undefined;
}

/** "8-4-4-4-12" hexadecimal digits. */
export function uuidText(uuid: Uint8Array): string {
  const hex = Buffer.from(uuid).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** The inverse of `uuidText`; undefined if it is not a uuid. */
export function parseUuid(text: string): Uint8Array | undefined {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)
    ? fromHex(text.replaceAll('-', '').toLowerCase())
    : undefined;
}
