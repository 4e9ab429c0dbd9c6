/**
 * Fail points: each of the file system calls of a part of cfs in turn can be made to fail, or to kill the process. For
 * tests (test/e2e/store-faults.test.ts). The calls of the store are counted under $CFS_FAIL_AT, those that change the
 * upper layer of a writable mount under $CFS_FAIL_UPPER_AT. The variable is read when a thread starts; if it is not
 * set, a call is the function itself.
 *
 *     CFS_FAIL_AT=main:12:kill        SIGKILL in place of the main thread's call number 12, counted from 1
 *     CFS_FAIL_AT=worker:5:ENOSPC     call number 5 of each other thread fails with ENOSPC
 *     CFS_FAIL_AT=trace:FILE          appends "main NAME" or "worker NAME" for each call to FILE
 *     CFS_FAIL_AT=nowhere             nothing, until `failAt` changes it
 */
import { appendFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { EACCES, EDQUOT, EIO, ENOSPC, type Errno } from '../base/errno.ts';
import { systemError } from './libc.ts';

// biome-ignore lint/suspicious/noExplicitAny: any function, with its overloads kept
type Call = (...args: any[]) => any;

type Action =
  | { readonly type: 'trace'; readonly file: string }
  | { readonly type: 'kill' | 'fail'; readonly at: number };

/** The name of a call, if it depends on its arguments. */
type Name = string | ((...args: never[]) => string);

/** Fail points that are counted together. */
export interface FailPoints {
  /** Sets the variable for this thread and for those that start later. Only if it was set from the beginning. */
  failAt(fault: string): void;
  /** A fail point for a function that throws errors of node:fs. */
  throwing<F extends Call>(name: Name, call: F): F;
  /** A fail point for a function that returns an errno, as those of names.ts. */
  returning<F extends Call>(name: Name, call: F): F;
}

const ERRORS: Readonly<Record<string, Errno>> = { ENOSPC, EDQUOT, EIO, EACCES };
const THREAD = isMainThread ? 'main' : 'worker';

function faultOf(fault: string): { action: Action | undefined; errno: Errno } {
  const [what, value, how] = fault.split(':');
  const failure = ERRORS[how ?? ''] ?? EIO;
  if (what === 'trace') return { action: { type: 'trace', file: fault.slice('trace:'.length) }, errno: failure };
  if (what !== THREAD) return { action: undefined, errno: failure };
  return { action: { type: how === 'kill' ? 'kill' : 'fail', at: Number(value) }, errno: failure };
}

const nameOf = (name: Name, args: readonly unknown[]): string =>
  typeof name === 'string' ? name : name(...(args as never[]));

/** @param variable of the environment */
function failPoints(variable: string): FailPoints {
  const setting: string | undefined = process.env[variable];
  let { action, errno } = faultOf(setting ?? '');
  let calls = 0;

  /** Counts a call. @returns whether it is to fail */
  const isToFail = (name: string): boolean => {
    if (action === undefined) return false;
    if (action.type === 'trace') {
      appendFileSync(action.file, `${THREAD} ${name}\n`);
      return false;
    }
    if (++calls !== action.at) return false;
    if (action.type === 'kill') process.kill(process.pid, 'SIGKILL');
    return true;
  };

  return {
    failAt(fault) {
      process.env[variable] = fault;
      ({ action, errno } = faultOf(fault));
      calls = 0;
    },
    throwing(name, call) {
      if (setting === undefined) return call;
      return ((...args) => {
        const own = nameOf(name, args);
        if (isToFail(own)) throw systemError(errno, own, typeof args[0] === 'string' ? args[0] : '');
        return call(...args);
      }) as typeof call;
    },
    returning(name, call) {
      if (setting === undefined) return call;
      return ((...args) => (isToFail(nameOf(name, args)) ? errno : call(...args))) as typeof call;
    },
  };
}

const ofStore: FailPoints = failPoints('CFS_FAIL_AT');
export const failAt: FailPoints['failAt'] = ofStore.failAt;
export const throwing: FailPoints['throwing'] = ofStore.throwing;
export const returning: FailPoints['returning'] = ofStore.returning;

/** Those of the calls that change the upper layer of a writable mount. */
export const upperFailPoints: FailPoints = failPoints('CFS_FAIL_UPPER_AT');
