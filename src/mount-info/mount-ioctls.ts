/** The numbers of the ioctl(2)s that work on every open file of a mount. include/cfs.h has them for C. */
import { FILE_SIZE } from './file-record.ts';
import { MOUNT_SIZE } from './mount-record.ts';
import { SOURCE_SIZE } from './source-record.ts';

/** _IOC_READ | _IOC_WRITE */
const READ_WRITE = 3;
const TYPE = 0xc6;

/** The limit of the 14 bits for the size in a command; every structure is smaller. */
export const MAX_IOCTL_SIZE = 0x3fff;

export const NR_MOUNT = 1;
export const NR_SOURCE = 2;
export const NR_FILE = 3;

const command = (nr: number, size: number): number => ((READ_WRITE << 30) | (size << 16) | (TYPE << 8) | nr) >>> 0;

/** Returns `struct cfs_mount`. */
export const CFS_IOC_MOUNT: number = command(NR_MOUNT, MOUNT_SIZE);
/** Returns `struct cfs_source` of the source number `index`. */
export const CFS_IOC_SOURCE: number = command(NR_SOURCE, SOURCE_SIZE);
/** Returns `struct cfs_file` of the file that it is called on. */
export const CFS_IOC_FILE: number = command(NR_FILE, FILE_SIZE);

/**
 * The NR_* of a command. Its size may differ from ours: a program compiled with an older header gets the beginning of
 * the structure, one with a newer header gets zeros after its end.
 * @returns -1 for any other command
 */
export function commandNumber(request: number): number {
  return request >>> 30 === READ_WRITE && ((request >>> 8) & 0xff) === TYPE ? request & 0xff : -1;
}
