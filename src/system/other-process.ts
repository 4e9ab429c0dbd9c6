/** Open files of another process. As in descriptors.ts: a result or a negative errno. */
import { ENOSYS, type Errno, isErrno } from '../base/errno.ts';
import { closeFd } from './descriptors.ts';
import { asErrno, native } from './libc.ts';

const pidfdOpenFn = native('long syscall(long number, int pid, unsigned int flags)');
const pidfdGetfdFn = native('long syscall(long number, int pidfd, int fd, unsigned int flags)');
/** The same numbers on all architectures. */
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;

const PIDFD_THREAD = 0x80;

/** The owner of descriptors: a process, or one of its threads that has descriptors of its own. */
export interface DescriptorOwner {
  readonly process: number;
  readonly thread?: number | undefined;
}

/**
 * A descriptor of the same open file as `fd` of a process or thread. Needs PTRACE_MODE_ATTACH, and Linux 5.6; for a
 * thread 6.9, before which it is EINVAL.
 */
export function takeDescriptor({ process, thread }: DescriptorOwner, fd: number): number | Errno {
  const flags = thread === undefined ? 0 : PIDFD_THREAD;
  const owner = asErrno(pidfdOpenFn(SYS_PIDFD_OPEN, thread ?? process, flags));
  if (isErrno(owner)) return owner;
  const taken = asErrno(pidfdGetfdFn(SYS_PIDFD_GETFD, owner, fd, 0));
  closeFd(owner);
  return taken;
}

const kcmpFn = native('long syscall(long number, int one, int other, int type, unsigned long a, unsigned long b)');
const SYS_KCMP: number | undefined = { x64: 312, arm64: 272, riscv64: 272 }[process.arch as string];
const KCMP_FILES = 2;
const KCMP_FS = 3;

/** kcmp(2): whether two tasks share their descriptors, working directory and root. */
export function sharesFiles(one: number, other: number): boolean | Errno {
  if (SYS_KCMP === undefined) return ENOSYS;
  for (const type of [KCMP_FILES, KCMP_FS]) {
    const result = kcmpFn(SYS_KCMP, one, other, type, 0, 0);
    if (result !== 0) return result < 0 ? asErrno(result) : false;
  }
  return true;
}
