/** Credentials of the calling thread (credentials(7), capabilities(7)). Other threads of the process keep theirs. */
import { type Errno, isErrno } from '../base/errno.ts';
import { S_ISGID, S_IXGRP } from '../base/stat-bits.ts';
import { emptyFileStatus, statusOf } from './file-status.ts';
import { native, systemError } from './libc.ts';

const capgetFn = native('int capget(void *header, void *data)');
const capsetFn = native('int capset(void *header, const void *data)');

/** struct __user_cap_header_struct: _LINUX_CAPABILITY_VERSION_3, and 0 for the calling thread. */
const header: Buffer = Buffer.alloc(8);
header.writeUInt32LE(0x2008_0522, 0);
/** Two struct __user_cap_data_struct: effective, permitted and inheritable, of the lower 32 capabilities first. */
const DATA_SIZE = 24;
const CAP_FSETID = 1 << 4;

/** Whether the calls below have taken the capability away at the moment. */
let isWithout = false;

/**
 * Runs `work`, which is synchronous, without CAP_FSETID: writes of the kernel in the name of the thread, also later for
 * a file that was opened then, clear set-id bits. The capabilities are read at the first call of a thread: nothing else
 * may change them afterwards.
 */
export function withoutFsetid<T>(work: () => T): T {
  states ??= readStates();
  // an ordinary user, or called by work that runs without it
  if (states.without === undefined || isWithout) return work();
  check('capset', capsetFn(header, states.without));
  isWithout = true;
  try {
    return work();
  } finally {
    isWithout = false;
    check('capset', capsetFn(header, states.usual));
  }
}
const setfsgidFn = native('int setfsgid(unsigned int gid)');
const status = emptyFileStatus();

/**
 * As `withoutFsetid`, for writes to one file by anybody: a write clears set-id bits, but not the set-group-ID bit of a
 * file that its group may not execute. Linux clears that, too, for a process that is not in the group. So the thread
 * is in it meanwhile.
 * @param fd of the file
 */
export function asWriterOf<T>(fd: number, work: () => T): T {
  const looked = statusOf(fd, status);
  if (isErrno(looked) || (status.mode & (S_ISGID | S_IXGRP)) !== S_ISGID) return withoutFsetid(work);
  const usual = setfsgidFn(status.gid);
  try {
    return withoutFsetid(work);
  } finally {
    setfsgidFn(usual);
  }
}

let states: { readonly usual: Buffer; readonly without: Buffer | undefined } | undefined;

function readStates(): { readonly usual: Buffer; readonly without: Buffer | undefined } {
  const usual = Buffer.alloc(DATA_SIZE);
  check('capget', capgetFn(header, usual));
  const effective = usual.readUInt32LE(0);
  if ((effective & CAP_FSETID) === 0) return { usual, without: undefined };
  const without = Buffer.from(usual);
  without.writeUInt32LE((effective & ~CAP_FSETID) >>> 0, 0);
  return { usual, without };
}

/** A filter of a container may refuse even this: then nothing may be done, as the thread has too many rights. */
function check(call: string, result: number): void {
  if (result < 0) throw systemError(result as Errno, call, 'CAP_FSETID');
}
