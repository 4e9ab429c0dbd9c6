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

// flags of fuse_init_in and fuse_init_out, as bit numbers: those from 32 up are in flags2
export const ASYNC_READ = 0;
export const EXPORT_SUPPORT = 4;
export const DO_READDIRPLUS = 13;
export const NO_OPEN_SUPPORT = 17;
export const PARALLEL_DIROPS = 18;
export const POSIX_ACL = 20;
export const MAX_PAGES = 22;
export const CACHE_SYMLINKS = 23;
export const NO_OPENDIR_SUPPORT = 24;
export const INIT_EXT = 30;
export const PASSTHROUGH = 37;
export const HAS_RESEND = 39;

/** Codes of notifications, which the server sends to the kernel on its own initiative. */
export const FUSE_NOTIFY_RESEND = 7;

export const FOPEN_KEEP_CACHE: number = 1 << 1;
export const FOPEN_NOFLUSH: number = 1 << 5;
export const FOPEN_PASSTHROUGH: number = 1 << 7;

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

/**
 * A request's buffer must hold at least FUSE_MIN_READ_BUFFER and a write of max_write bytes (fs/fuse/dev.c,
 * fuse_dev_do_read).
 */
export const REQUEST_BUFFER_SIZE = 65536;
export const MAX_WRITE = 4096;
/** Pages of the largest read, readdir and readlink reply: 1 MiB. */
export const MAX_PAGES_PER_REQUEST = 256;
export const REPLY_BUFFER_SIZE: number = OUT_HEADER_SIZE + MAX_PAGES_PER_REQUEST * 4096;

/** _IOR(229, 0, uint32_t) */
export const FUSE_DEV_IOC_CLONE = 0x8004e500;
/** _IOW(229, 1, struct fuse_backing_map) */
export const FUSE_DEV_IOC_BACKING_OPEN = 0x4010e501;
/** _IOW(229, 2, uint32_t) */
export const FUSE_DEV_IOC_BACKING_CLOSE = 0x4004e502;
