/** Flags of open(2) as requests of FUSE have them, and for calls that node does not make: asm-generic/fcntl.h. */

/** The bits for the access: O_RDONLY, O_WRONLY or O_RDWR. */
export const O_ACCMODE = 0o3;
export const O_RDONLY = 0o0;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_DSYNC = 0o10000;
export const O_CLOEXEC = 0o2000000;
