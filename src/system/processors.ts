/** The processors that threads run on. As in descriptors.ts: errors are results. */
import { constants } from 'node:fs';
import { type Errno, isErrno } from '../base/errno.ts';
import { closeFd, openAt } from './descriptors.ts';
import { AT_FDCWD, native } from './libc.ts';
import { pread } from './reading-writing.ts';

const getcpuFn = native('int sched_getcpu(void)');
const getaffinityFn = native('int sched_getaffinity(int pid, size_t size, void *mask)');
const setaffinityFn = native('int sched_setaffinity(int pid, size_t size, const void *mask)');

/** The number of the processor that the calling thread runs on. */
export const currentProcessor = (): number | Errno => getcpuFn();

/** A cpu_set_t: 1,024 processors. On a larger machine the calls fail, and nothing is moved. */
const MASK_BYTES = 128;
const usual = new Uint8Array(MASK_BYTES);
const single = new Uint8Array(MASK_BYTES);

/**
 * Moves the calling thread to a processor. It may be moved from there again, by the scheduler, as before.
 * @returns false if the thread may not run there, or the system refuses it
 */
export function moveToProcessor(processor: number): boolean {
  const at = processor >> 3;
  const bit = 1 << (processor & 7);
  if (isErrno(getaffinityFn(0, MASK_BYTES, usual)) || ((usual[at] ?? 0) & bit) === 0) return false;
  single.fill(0);
  single[at] = bit;
  if (isErrno(setaffinityFn(0, MASK_BYTES, single))) return false;
  setaffinityFn(0, MASK_BYTES, usual);
  return true;
}

const stat = Buffer.alloc(1024);
const PARENTHESIS = 0x29;
const SPACE = 0x20;
/** Spaces between the end of the name, after field 2, and the field "processor" of proc_pid_stat(5), number 39. */
const SPACES = 37;

/** The processor on which a thread of any process runs, or ran last; -1 if that cannot be found out. */
export function processorOf(thread: number): number {
  const fd = openAt(AT_FDCWD, Buffer.from(`/proc/${thread}/stat`, 'latin1'), constants.O_RDONLY);
  if (isErrno(fd)) return -1;
  const length = pread(fd, stat, stat.length, 0);
  closeFd(fd);
  return isErrno(length) ? -1 : parseProcessor(stat.subarray(0, length));
}

/** The field "processor" in the content of /proc/PID/stat; -1 if there is none. */
export function parseProcessor(text: Uint8Array): number {
  // the name may contain anything
  let at = text.lastIndexOf(PARENTHESIS);
  if (at < 0) return -1;
  for (let left = SPACES; left > 0; left--) {
    at = text.indexOf(SPACE, at + 1);
    if (at < 0) return -1;
  }
  const end = text.indexOf(SPACE, at + 1);
  const field = Buffer.from(text.subarray(at + 1, end < 0 ? undefined : end)).toString('latin1');
  return /^\d+$/.test(field) ? Number(field) : -1;
}
