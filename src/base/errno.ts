/**
 * Error numbers as the kernel and FUSE replies carry them: negative integers. The type cannot hold
 * success, so a function that may fail returns `T | Errno` and the caller must look.
 * Values: include/uapi/asm-generic/errno-base.h and errno.h (the same on x86, arm64 and riscv).
 */
declare const brand: unique symbol;

/** A negative error number, e.g. -2 for ENOENT. */
export type Errno = number & { readonly [brand]: 'errno' };

const make = (positive: number): Errno => -positive as Errno;

export const EPERM: Errno = make(1);
export const ENOENT: Errno = make(2);
export const ESRCH: Errno = make(3);
export const EINTR: Errno = make(4);
export const EIO: Errno = make(5);
export const ENXIO: Errno = make(6);
export const E2BIG: Errno = make(7);
export const EBADF: Errno = make(9);
export const EAGAIN: Errno = make(11);
export const ENOMEM: Errno = make(12);
export const EACCES: Errno = make(13);
export const EBUSY: Errno = make(16);
export const EEXIST: Errno = make(17);
export const EXDEV: Errno = make(18);
export const ENODEV: Errno = make(19);
export const ENOTDIR: Errno = make(20);
export const EISDIR: Errno = make(21);
export const EINVAL: Errno = make(22);
export const ENFILE: Errno = make(23);
export const EMFILE: Errno = make(24);
export const ENOTTY: Errno = make(25);
export const ETXTBSY: Errno = make(26);
export const EFBIG: Errno = make(27);
export const ENOSPC: Errno = make(28);
export const EROFS: Errno = make(30);
export const EMLINK: Errno = make(31);
export const ERANGE: Errno = make(34);
export const ENAMETOOLONG: Errno = make(36);
export const ENOSYS: Errno = make(38);
export const ENOTEMPTY: Errno = make(39);
export const ELOOP: Errno = make(40);
export const ENODATA: Errno = make(61);
export const EMSGSIZE: Errno = make(90);
export const EOPNOTSUPP: Errno = make(95);
export const ENOTCONN: Errno = make(107);
export const ESTALE: Errno = make(116);
export const EDQUOT: Errno = make(122);
/** In place of an error: the request is answered later. It is EIOCBQUEUED of the kernel, which no caller ever sees. */
export const DEFERRED: Errno = make(529);

const names: ReadonlyMap<number, string> = new Map(
  Object.entries({
    EPERM,
    ENOENT,
    ESRCH,
    EINTR,
    EIO,
    E2BIG,
    ENXIO,
    EBADF,
    EAGAIN,
    ENOMEM,
    EACCES,
    EBUSY,
    EEXIST,
    EXDEV,
    ENODEV,
    ENOTDIR,
    EISDIR,
    EINVAL,
    ENFILE,
    EMFILE,
    ENOTTY,
    ETXTBSY,
    EFBIG,
    ENOSPC,
    EROFS,
    EMLINK,
    ERANGE,
    ENAMETOOLONG,
    ENOSYS,
    ENOTEMPTY,
    ELOOP,
    ENODATA,
    EMSGSIZE,
    EOPNOTSUPP,
    ENOTCONN,
    ESTALE,
    EDQUOT,
  }).map(([name, value]) => [value, name]),
);

/** True if a `T | Errno` is the error. T may be an object or a number that is never negative. */
export function isErrno(value: unknown): value is Errno {
  return typeof value === 'number' && value < 0;
}

/** "ENOENT" for -2; "errno 200" for a number without a name here. */
export function errnoName(errno: Errno): string {
  return names.get(errno) ?? `errno ${-errno}`;
}

/**
 * The error number of an error from node:fs (or this project's syscall layer), or undefined if it is not a system
 * error.
 */
export function errnoOf(error: unknown): Errno | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const value: unknown = (error as { errno?: unknown }).errno;
  return typeof value === 'number' && value < 0 ? (value as Errno) : undefined;
}

/** Whether a file system, or the quota of a user on it, is full. */
export const isFull = (errno: number | undefined): boolean => errno === ENOSPC || errno === EDQUOT;
