/**
 * The FUSE protocol of the kernel: include/uapi/linux/fuse.h, version 7.45. Kernel names are kept. Structures are
 * little-endian here and addressed as 32-bit words.
 */

export const FUSE_KERNEL_VERSION = 7;
/** The newest minor version that this driver knows; the older version of both sides is used. */
export const FUSE_KERNEL_MINOR_VERSION = 41;
/** Older kernels (before Linux 5.4) are refused; later features are used if the kernel offers them. */
export const FUSE_MINIMUM_MINOR_VERSION = 31;

export const FUSE_ROOT_ID = 1;

export const FUSE_LOOKUP = 1;
export const FUSE_FORGET = 2;
export const FUSE_GETATTR = 3;
export const FUSE_SETATTR = 4;
export const FUSE_READLINK = 5;
export const FUSE_SYMLINK = 6;
export const FUSE_MKNOD = 8;
export const FUSE_MKDIR = 9;
export const FUSE_UNLINK = 10;
export const FUSE_RMDIR = 11;
export const FUSE_RENAME = 12;
export const FUSE_LINK = 13;
export const FUSE_OPEN = 14;
export const FUSE_READ = 15;
export const FUSE_WRITE = 16;
export const FUSE_STATFS = 17;
export const FUSE_RELEASE = 18;
export const FUSE_FSYNC = 20;
export const FUSE_SETXATTR = 21;
export const FUSE_GETXATTR = 22;
export const FUSE_LISTXATTR = 23;
export const FUSE_REMOVEXATTR = 24;
export const FUSE_FLUSH = 25;
export const FUSE_INIT = 26;
export const FUSE_OPENDIR = 27;
export const FUSE_READDIR = 28;
export const FUSE_RELEASEDIR = 29;
export const FUSE_FSYNCDIR = 30;
export const FUSE_ACCESS = 34;
export const FUSE_CREATE = 35;
export const FUSE_INTERRUPT = 36;
export const FUSE_DESTROY = 38;
export const FUSE_IOCTL = 39;
export const FUSE_POLL = 40;
export const FUSE_BATCH_FORGET = 42;
export const FUSE_FALLOCATE = 43;
export const FUSE_READDIRPLUS = 44;
export const FUSE_RENAME2 = 45;
export const FUSE_LSEEK = 46;
export const FUSE_COPY_FILE_RANGE = 47;
export const FUSE_SYNCFS = 50;
export const FUSE_TMPFILE = 51;
export const FUSE_STATX = 52;
export const FUSE_COPY_FILE_RANGE_64 = 53;

// flags of fuse_init_in and fuse_init_out, as bit numbers: those from 32 up are in flags2
export const ASYNC_READ = 0;
export const ATOMIC_O_TRUNC = 3;
export const EXPORT_SUPPORT = 4;
export const BIG_WRITES = 5;
export const DONT_MASK = 6;
export const DO_READDIRPLUS = 13;
export const WRITEBACK_CACHE = 16;
export const NO_OPEN_SUPPORT = 17;
export const PARALLEL_DIROPS = 18;
export const POSIX_ACL = 20;
export const MAX_PAGES = 22;
export const CACHE_SYMLINKS = 23;
export const NO_OPENDIR_SUPPORT = 24;
export const HANDLE_KILLPRIV_V2 = 28;
export const SETXATTR_EXT = 29;
export const INIT_EXT = 30;
export const PASSTHROUGH = 37;
export const HAS_RESEND = 39;

/** Codes of notifications, which the server sends to the kernel on its own initiative. */
export const FUSE_NOTIFY_INVAL_INODE = 2;
export const FUSE_NOTIFY_RESEND = 7;

export const FOPEN_KEEP_CACHE: number = 1 << 1;
export const FOPEN_NOFLUSH: number = 1 << 5;
export const FOPEN_PASSTHROUGH: number = 1 << 7;

/** fuse_setattr_in.valid */
export const FATTR_MODE: number = 1 << 0;
export const FATTR_UID: number = 1 << 1;
export const FATTR_GID: number = 1 << 2;
export const FATTR_SIZE: number = 1 << 3;
export const FATTR_ATIME: number = 1 << 4;
export const FATTR_MTIME: number = 1 << 5;
export const FATTR_ATIME_NOW: number = 1 << 7;
export const FATTR_MTIME_NOW: number = 1 << 8;
export const FATTR_CTIME: number = 1 << 10;
export const FATTR_KILL_SUIDGID: number = 1 << 11;

/** fuse_open_in.open_flags and fuse_create_in.open_flags */
export const OPEN_KILL_SUIDGID: number = 1 << 0;
/** fuse_write_in.write_flags */
export const WRITE_KILL_SUIDGID: number = 1 << 2;
/** fuse_setxattr_in.setxattr_flags */
export const SETXATTR_ACL_KILL_SGID: number = 1 << 0;
/** fuse_fsync_in.fsync_flags */
export const FSYNC_FDATASYNC: number = 1 << 0;

/** Bytes of fuse_in_header, fuse_out_header and the structures that follow them. */
export const IN_HEADER_SIZE = 40;
export const OUT_HEADER_SIZE = 16;
export const INIT_OUT_SIZE = 64;
export const ENTRY_OUT_SIZE = 128;
export const ATTR_OUT_SIZE = 104;
export const OPEN_OUT_SIZE = 16;
export const STATFS_OUT_SIZE = 80;
export const GETXATTR_OUT_SIZE = 8;
export const IOCTL_OUT_SIZE = 16;
export const LSEEK_OUT_SIZE = 8;
export const DIRENT_SIZE = 24;
export const STATX_OUT_SIZE = 288;
export const WRITE_OUT_SIZE = 8;
export const COPY_FILE_RANGE_OUT_SIZE = 8;

/** Bytes of the structures that requests of a writable mount begin with. */
export const SETATTR_IN_SIZE = 88;
export const MKNOD_IN_SIZE = 16;
export const MKDIR_IN_SIZE = 8;
export const RENAME_IN_SIZE = 8;
export const RENAME2_IN_SIZE = 16;
export const LINK_IN_SIZE = 8;
export const OPEN_IN_SIZE = 8;
export const CREATE_IN_SIZE = 16;
export const WRITE_IN_SIZE = 40;
/** With SETXATTR_EXT; 8 without. */
export const SETXATTR_IN_SIZE = 16;
export const FSYNC_IN_SIZE = 16;
export const FALLOCATE_IN_SIZE = 32;
export const COPY_FILE_RANGE_IN_SIZE = 56;

/**
 * A request's buffer must hold at least FUSE_MIN_READ_BUFFER and a write of max_write bytes (fs/fuse/dev.c,
 * fuse_dev_do_read).
 */
export const REQUEST_BUFFER_SIZE = 65536;
export const MAX_WRITE = 4096;
/** Those of a writable mount. */
export const LARGE_MAX_WRITE: number = 1 << 20;
export const LARGE_REQUEST_BUFFER_SIZE: number = IN_HEADER_SIZE + WRITE_IN_SIZE + LARGE_MAX_WRITE;
/** Pages of the largest read, readdir and readlink reply: 1 MiB. */
export const MAX_PAGES_PER_REQUEST = 256;
export const REPLY_BUFFER_SIZE: number = OUT_HEADER_SIZE + MAX_PAGES_PER_REQUEST * 4096;

/** _IOR(229, 0, uint32_t) */
export const FUSE_DEV_IOC_CLONE = 0x8004e500;
/** _IOW(229, 1, struct fuse_backing_map) */
export const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501;
/** _IOW(229, 2, uint32_t) */
export const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502;
