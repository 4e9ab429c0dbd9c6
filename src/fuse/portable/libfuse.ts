/**
 * The native half of the npm package `fuse-native` 2.2.6, and the libfuse 2 that it runs on.
 *
 * Only the binding is used, not the package's index.js. That layer answers ETIMEDOUT after 15 s (hashing a large object
 * at its first open takes longer), silently truncates xattr values to the caller's buffer, adds 128 bytes to every
 * listxattr size, sends the clock's time for a missing one and runs `fusermount -uz` through a shell. The declarations
 * here are the exports of fuse-native.c 2.2.6 and the exact arguments that it reads: a signal function with one
 * argument missing throws and leaves the request unanswered forever.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CfsError, reasonOf } from '../../base/error.ts';
import { koffi } from '../../system/libc.ts';
import { aliasDynamicSymbol } from './elf-symbols.ts';

/** A request in progress (`fuse_thread_locals_t`). It belongs to the libfuse thread that waits for its answer. */
export type NativeRequest = Buffer;

/** Called on the main thread with the request, its opcode, and the operation's arguments (see the FUSE_METHODs). */
export type NativeHandler = (request: NativeRequest, opcode: number, ...args: never[]) => void;

/**
 * Answers a request, once: its thread then continues with the next. `result` is the return value of the libfuse
 * operation.
 */
type Signal<Args extends unknown[]> = (request: NativeRequest, result: number, ...args: Args) => void;

/** Operations whose answer is only a number. */
export type PlainOperation =
  | 'truncate'
  | 'ftruncate'
  | 'utimens'
  | 'chown'
  | 'chmod'
  | 'mknod'
  | 'removexattr'
  | 'release'
  | 'unlink'
  | 'rename'
  | 'link'
  | 'symlink'
  | 'mkdir'
  | 'rmdir';

/** Every operation that this driver answers; `init` comes once, before all others. */
export type Operation =
  | PlainOperation
  | 'init'
  | 'getattr'
  | 'fgetattr'
  | 'statfs'
  | 'readdir'
  | 'readlink'
  | 'open'
  | 'create'
  | 'read'
  | 'write'
  | 'getxattr'
  | 'setxattr'
  | 'listxattr';

type Signals = { readonly [Name in PlainOperation as `fuse_native_signal_${Name}`]: Signal<[]> } & {
  readonly fuse_native_signal_init: Signal<[]>;
  /** `stat`: 18 words, see `encodeStat`. Read before the call returns. */
  readonly fuse_native_signal_getattr: Signal<[stat: Uint32Array]>;
  readonly fuse_native_signal_fgetattr: Signal<[stat: Uint32Array]>;
  readonly fuse_native_signal_statfs: Signal<[statvfs: Uint32Array]>;
  /** As many stats as names, else the stats are ignored. */
  readonly fuse_native_signal_readdir: Signal<[names: readonly string[], stats: readonly Uint32Array[]]>;
  readonly fuse_native_signal_readlink: Signal<[target: string]>;
  readonly fuse_native_signal_open: Signal<[fh: number]>;
  readonly fuse_native_signal_create: Signal<[fh: number]>;
  /** The result is the number of bytes; `unused` is not read. The memory is libfuse's and is detached. */
  readonly fuse_native_signal_read: Signal<[unused: number, memory: ArrayBufferLike]>;
  readonly fuse_native_signal_write: Signal<[unused: number, memory: ArrayBufferLike]>;
  readonly fuse_native_signal_getxattr: Signal<[memory: ArrayBufferLike]>;
  readonly fuse_native_signal_setxattr: Signal<[memory: ArrayBufferLike]>;
  readonly fuse_native_signal_listxattr: Signal<[memory: ArrayBufferLike]>;
};

/** The exports of prebuilds/linux-x64/node.napi.node that are used. */
export type FuseNativeBinding = Signals & { readonly [Name in Operation as `op_${Name}`]: number } & {
  readonly sizeof_fuse_thread_t: number;
  /**
   * Mounts, and starts the libfuse threads. Throws "fuse failed" if either does not work; the reason is then a line of
   * libfuse's on stderr. `mountpoint` and `options` are truncated at 1023 bytes.
   * @param thread `sizeof_fuse_thread_t` zeroed bytes that must never move or be collected
   * @param receiver `this` of the handlers
   * @param allocate returns zeroed bytes, which likewise must stay forever
   * @param handlers by opcode
   * @param implemented by opcode: 1 if libfuse is to call the handler, else it answers ENOSYS itself
   */
  fuse_native_mount(
    mountpoint: string,
    options: string,
    thread: Buffer,
    receiver: object,
    allocate: (size: number) => Buffer,
    handlers: readonly NativeHandler[],
    implemented: Uint32Array,
  ): void;
  /** Does not unmount: lets the event loop end without this mount. */
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
};

/** fuse-native.c: `napi_ref handlers[35]`. */
export const OPCODES = 35;

type Library = ReturnType<ReturnType<typeof koffi>['load']>;

let loaded: FuseNativeBinding | undefined;

/**
 * Loads the binding, and before it the libfuse that it needs.
 *
 * node.napi.node NEEDs libfuse.so.2 and has no RPATH, so alone it loads only if the system has libfuse 2. The package
 * carries one with this SONAME; once that is loaded, the dynamic linker takes it for the NEEDED entry (glibc,
 * elf/dl-load.c: _dl_map_object compares the DT_SONAME of loaded libraries). It is preferred to the system's: both are
 * 2.9.9, the last release of that series, and it is the same bytes on every machine. It looks for fusermount in
 * /usr/local/bin and then in $PATH. If the package carries none, the system's is used.
 *
 * `log` receives a line if it could only be loaded unchanged; see `loadSingleThreaded`. Throws a CfsError of kind
 * `mount` if neither can be loaded.
 */
export function loadFuseNative(log: (line: string) => void): FuseNativeBinding {
  if (loaded !== undefined) return loaded;
  const manifest = locatePackage();
  const directory = path.dirname(manifest);
  const shipped = path.join(directory, 'prebuilds', `${process.platform}-${process.arch}`, 'libfuse.so');
  try {
    const libfuse = existsSync(shipped) ? loadLibfuse(shipped, log) : undefined;
    if (libfuse === undefined) warnOfThreads(log, "the system's libfuse 2 is used");
    const nodeGypBuild = createRequire(manifest)('node-gyp-build') as (directory: string) => FuseNativeBinding;
    loaded = nodeGypBuild(directory);
    libfuse?.unload(); // release koffi's reference; the binding has its own now
  } catch (cause) {
    throw new CfsError('mount', `Cannot load the fuse-native driver: ${reasonOf(cause)}`, {
      hint: 'Install libfuse 2 (Debian: libfuse2), or use the kernel driver.',
      cause,
    });
  }
  return loaded;
}

function warnOfThreads(log: (line: string) => void, what: string): void {
  log(`${what}, with many threads: under parallel load this process will grow and slow down until it ends`);
}

function loadLibfuse(file: string, log: (line: string) => void): Library {
  try {
    return loadSingleThreaded(file);
  } catch (error) {
    warnOfThreads(log, `${file} is used unchanged (${reasonOf(error)})`);
    return koffi().load(file);
  }
}

/**
 * Loads libfuse with `fuse_loop_mt`, which fuse-native.c calls, as an alias of `fuse_loop`: one thread instead of many.
 *
 * The many gain nothing, since all of them wait for the one thread that runs JavaScript. And they leak: libfuse
 * ends a thread when more than ten are idle and starts another when none is (lib/fuse_loop_mt.c), and
 * fuse-native.c gives each new one a uv_async_t that it never closes; libuv walks all of them at each wake-up.
 * Measured with 32 processes that open and close one file for 20 s: 21,500 threads came and went, and an open
 * then cost the server 390 to 510 µs of CPU instead of 45. With `fuse_loop`: one thread, 37 µs as before, and 25 µs
 * instead of 38 during the load. (Count the calls of `allocate` to see it again.)
 *
 * No option of libfuse 2 chooses the loop for a caller of fuse_loop_mt, so the symbol is changed in a private copy
 * of the file. The copy lasts until the linker has mapped it.
 */
function loadSingleThreaded(file: string): Library {
  const image = readFileSync(file);
  aliasDynamicSymbol(image, 'fuse_loop_mt', 'fuse_loop');
  const directory = mkdtempSync(path.join(tmpdir(), 'cfs-libfuse-'));
  try {
    const copy = path.join(directory, 'libfuse.so');
    writeFileSync(copy, image, { mode: 0o500 });
    return koffi().load(copy);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function locatePackage(): string {
  try {
    return createRequire(import.meta.url).resolve('fuse-native/package.json');
  } catch (cause) {
    throw new CfsError('mount', 'Cannot find the npm package fuse-native', {
      hint: 'Install the dependencies (npm ci), or use the kernel driver.',
      cause,
    });
  }
}
