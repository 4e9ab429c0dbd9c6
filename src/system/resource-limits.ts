/** Resource limits of this process. Linux only. */
import { EMFILE, ENFILE, errnoOf } from '../base/errno.ts';
import { native } from './libc.ts';

const getrlimitFn = native('int getrlimit(int resource, _Out_ uint8_t *limit)');
/** Of x86, arm64 and riscv. */
const RLIMIT_NOFILE = 7;

/**
 * The number of files that this process may have open (`ulimit -n`). Node has raised it to the hard limit at its start.
 */
export function openFilesLimit(): number {
  const limit = Buffer.alloc(16);
  if (getrlimitFn(RLIMIT_NOFILE, limit) !== 0) return 1024;
  const soft = limit.readBigUInt64LE(0);
  return soft > 0xffff_ffffn ? Number.POSITIVE_INFINITY : Number(soft);
}

/** Whether an error means that no more files can be opened, by this process or at all. */
export function isOutOfFiles(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === EMFILE || errno === ENFILE;
}

/** The remedy for that, as a sentence. */
export function openFilesAdvice(error: unknown): string {
  return errnoOf(error) === ENFILE
    ? 'The machine has too many open (/proc/sys/fs/file-max).'
    : `This process may have ${openFilesLimit()} open: raise the limit ('ulimit -n', LimitNOFILE= of a unit, ulimit nofile of a container).`;
}
