/** The ioctl(2)s that tell about a mount and its files. include/cfs.h has them for C. */
import { ioctlCommand } from '../base/ioctl-command.ts';
import { CHANGES_SIZE } from './change-records.ts';
import { FILE_SIZE } from './file-record.ts';
import { MOUNT_SIZE } from './mount-record.ts';
import { SOURCE_SIZE } from './source-record.ts';

export const NR_MOUNT = 1;
export const NR_SOURCE = 2;
export const NR_FILE = 3;
export const NR_CHANGES = 0x30;

/** Returns `struct cfs_mount`. */
export const CFS_IOC_MOUNT: number = ioctlCommand(NR_MOUNT, MOUNT_SIZE);
/** Returns `struct cfs_source` of the source number `index`. */
export const CFS_IOC_SOURCE: number = ioctlCommand(NR_SOURCE, SOURCE_SIZE);
/** Returns `struct cfs_file` of the file that it is called on. */
export const CFS_IOC_FILE: number = ioctlCommand(NR_FILE, FILE_SIZE);
/** Returns the next changes of the upper layer, in `struct cfs_changes`. */
export const CFS_IOC_CHANGES: number = ioctlCommand(NR_CHANGES, CHANGES_SIZE);
