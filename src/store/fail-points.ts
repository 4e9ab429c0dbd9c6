/**
 * Fail points: the store's file system calls can be made to fail, or the process to be killed, at each of them in turn.
 * For tests (test/store/faults.test.ts). $CFS_FAIL_AT is read once; where it is not set a call is the function itself.
 *
 *     CFS_FAIL_AT=main:12:kill        SIGKILL in place of the main thread's call number 12, counted from 1
 *     CFS_FAIL_AT=worker:5:ENOSPC     call number 5 of each other thread fails so
 *     CFS_FAIL_AT=trace:FILE          appends "main NAME" or "worker NAME" for each call to FILE
 */
import { appendFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { EACCES, EIO, ENOSPC, type Errno } from '../base/errno.ts';
import { systemError } from '../system/libc.ts';

// biome-ignore lint/suspicious/noExplicitAny: any function, with its overloads kept
type Call = (...args: any[]) => any;

type Action =
  | { readonly type: 'trace'; readonly file: string }
  | { readonly type: 'kill' | 'fail'; readonly at: number };

const ERRORS: Readonly<Record<string, Errno>> = { ENOSPC, EIO, EACCES };
const THREAD = isMainThread ? 'main' : 'worker';

const setting: string | undefined = process.env['CFS_FAIL_AT'];
const words: readonly string[] = setting?.split(':') ?? [];
const errno: Errno = ERRORS[words[2] ?? ''] ?? EIO;
const action: Action | undefined = actionOf(words);
let calls = 0;

function actionOf([what, value]: readonly string[]): Action | undefined {
  if (value === undefined) return undefined;
  if (what === 'trace') return { type: 'trace', file: words.slice(1).join(':') };
  if (what !== THREAD) return undefined;
  return { type: words[2] === 'kill' ? 'kill' : 'fail', at: Number(value) };
}

/** Counts a call. @returns whether it is to fail */
function isToFail(name: string): boolean {
  if (action === undefined) return false;
  if (action.type === 'trace') {
    appendFileSync(action.file, `${THREAD} ${name}\n`);
    return false;
  }
  if (++calls !== action.at) return false;
  if (action.type === 'kill') process.kill(process.pid, 'SIGKILL');
  return true;
}

/** A fail point for a function that throws what node:fs throws. */
export function throwing<F extends Call>(name: string, call: F): F {
  if (action === undefined) return call;
  return ((...args) => {
    if (isToFail(name)) throw systemError(errno, name, typeof args[0] === 'string' ? args[0] : '');
    return call(...args);
  }) as F;
}

/** A fail point for a function that returns an errno, as those of syscall.ts. */
export function returning<F extends Call>(name: string, call: F): F {
  if (action === undefined) return call;
  return ((...args) => (isToFail(name) ? errno : call(...args))) as F;
}
