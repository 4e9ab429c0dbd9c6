/**
 * Mounts without a mount point, which end with their last descriptor. Linux 5.2; they need CAP_SYS_ADMIN, which root of
 * a user namespace has there.
 */
import { type Errno, isErrno } from '../base/errno.ts';
import { closeFd } from './descriptors.ts';
import { AT_FDCWD, asErrno, cString, native } from './libc.ts';

const openTreeFn = native('long syscall(long number, int dir, const void *path, unsigned int flags)');
/** open_tree(2); the same number on all architectures. */
const SYS_OPEN_TREE = 428;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;

/**
 * A descriptor (O_PATH) of a copy of the mount at `mountpoint`: files opened through it do not keep the original mount
 * busy.
 */
export function cloneMount(mountpoint: string | Uint8Array): number | Errno {
  return asErrno(openTreeFn(SYS_OPEN_TREE, AT_FDCWD, cString(mountpoint), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

const fsopenFn = native('long syscall(long number, const void *type, unsigned int flags)');
const fsconfigFn = native(
  'long syscall(long number, int fd, unsigned int command, const void *key, const void *value, int aux)',
);
const fsmountFn = native('long syscall(long number, int fd, unsigned int flags, unsigned int attributes)');
/** The same numbers on all architectures. */
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
/** MOUNT_ATTR_RDONLY, _NOSUID, _NODEV, _NOEXEC */
const LOCKED = 0xf;

/**
 * Mounts a file system that no process sees, with no permission for anything. Returns a descriptor (O_PATH). The kernel
 * writes the reason of a failure to its log.
 * @param options of mount(8); true: without a value
 */
export function mountDetached(type: string, options: Readonly<Record<string, string | true>>): number | Errno {
  const context = asErrno(fsopenFn(SYS_FSOPEN, cString(type), CLOEXEC));
  if (isErrno(context)) return context;
  try {
    for (const [key, value] of Object.entries(options)) {
      const set =
        value === true
          ? fsconfigFn(SYS_FSCONFIG, context, FSCONFIG_SET_FLAG, cString(key), null, 0)
          : fsconfigFn(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, cString(key), cString(value), 0);
      if (set < 0) return asErrno(set);
    }
    const created = fsconfigFn(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, null, null, 0);
    return created < 0 ? asErrno(created) : asErrno(fsmountFn(SYS_FSMOUNT, context, CLOEXEC, LOCKED));
  } finally {
    closeFd(context);
  }
}
