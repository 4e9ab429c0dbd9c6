/** Calling libc: the only place that does. The other files of this folder have the functions. Linux only. */
import { type Errno, errnoName } from '../base/errno.ts';
import { loadPackage } from '../base/native-package.ts';
import { pathBytes } from '../base/path-text.ts';

export type NativeFunction = (...args: unknown[]) => number;

type Koffi = typeof import('koffi');

/** Loaded at the first call: a thread that makes none does not pay for it. */
export function koffi(): Koffi {
  koffiModule ??= loadPackage<Koffi>('koffi');
  return koffiModule;
}
let koffiModule: Koffi | undefined;

let libc: ReturnType<Koffi['load']> | undefined;

/** A libc function with koffi's conversion of its result. */
export function libcFunction(prototype: string): (...args: unknown[]) => unknown {
  libc ??= koffi().load('libc.so.6');
  return libc.func(prototype) as unknown as (...args: unknown[]) => unknown;
}

/** A libc function that is looked up at its first call: a tool that mounts nothing does not pay for it. */
export function native(prototype: string): NativeFunction {
  let fn: ((...args: unknown[]) => unknown) | undefined;
  return (...args) => {
    fn ??= libcFunction(prototype);
    const result = Number(fn(...args));
    return result === -1 ? -koffi().errno() : result;
  };
}

/** NUL-terminated copy of a path or name. */
export function cString(text: string | Uint8Array): Buffer {
  const bytes = typeof text === 'string' ? pathBytes(text) : text;
  if (bytes.includes(0)) throw new Error(`a path or name with a NUL byte: ${JSON.stringify(String(text))}`);
  return Buffer.concat([bytes, Buffer.alloc(1)]);
}

/** The error that node:fs would throw for `errno`, for callers that report system errors by exception. */
export function systemError(errno: Errno, call: string, subject: string): Error {
  return Object.assign(new Error(`${errnoName(errno)}: ${errnoText(errno)}, ${call} '${subject}'`), {
    errno,
    code: errnoName(errno),
    syscall: call,
    path: subject,
  });
}

/** "no such file or directory": strerror(3), as a part of a sentence. */
export function errnoText(errno: Errno): string {
  strerrorFn ??= libcFunction('const char *strerror(int errnum)') as (n: number) => string;
  return strerrorFn(-errno).toLowerCase();
}
let strerrorFn: ((n: number) => string) | undefined;

/** A name for calls relative to a directory, NUL-terminated in a buffer of this thread that the next call reuses. */
export const nameBuffer: (name: Uint8Array) => Buffer = nameSpace();
/** As `nameBuffer`, in a buffer of its own, for calls with two names. */
export const otherNameBuffer: (name: Uint8Array) => Buffer = nameSpace();

function nameSpace(): (name: Uint8Array) => Buffer {
  let space: Buffer = Buffer.alloc(4096);
  return (name) => {
    if (name.length >= space.length) space = Buffer.alloc(name.length * 2);
    space.set(name);
    space[name.length] = 0;
    return space;
  };
}

export const asErrno = (result: number): Errno => result as Errno;
export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;
export const AT_SYMLINK_FOLLOW = 0x400;
/** open(2): a descriptor that only names the file. node has no name for it. */
export const O_PATH = 0o10000000;
export const AT_SYMLINK_NOFOLLOW = 0x100;
