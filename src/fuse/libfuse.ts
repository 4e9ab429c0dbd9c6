/**
 * The native half of the npm package `fuse-native` 2.2.6, and the libfuse 2 that it runs on.
 *
 * Only the binding is used, not the package's index.js. That layer answers ETIMEDOUT after 15 s (hashing a
 * large object at its first open takes longer), cuts xattr values to the caller's buffer without a word,
 * adds 128 bytes to every listxattr size, sends the clock's time for a missing one and runs `fusermount -uz`
 * through a shell. What is declared here is what fuse-native.c 2.2.6 exports and the exact arguments that it
 * reads: a signal function with one argument missing throws and leaves the request unanswered for ever.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import koffi from 'koffi';
import { CfsError, reasonOf } from '../error.ts';

/** A request under way (`fuse_thread_locals_t`). It belongs to the libfuse thread that waits for its answer. */
export type NativeRequest = Buffer;

/** Called on the main thread with the request, its opcode, and the operation's arguments (see the FUSE_METHODs). */
export type NativeHandler = (request: NativeRequest, opcode: number, ...args: never[]) => void;

/** Answers a request; `result` is what the libfuse operation returns. The thread goes on at once, so each request gets one. */
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

/** What prebuilds/linux-x64/node.napi.node exports, as far as it is used. */
export type FuseNativeBinding = Signals & { readonly [Name in Operation as `op_${Name}`]: number } & {
  readonly sizeof_fuse_thread_t: number;
  /**
   * Mounts, and starts the libfuse threads. Throws "fuse failed" where either does not work, and then the
   * reason is a line of libfuse's on stderr. `mountpoint` and `options` are cut at 1023 bytes.
   * @param thread `sizeof_fuse_thread_t` zeroed bytes that must never move or be collected
   * @param receiver `this` of the handlers
   * @param allocate gives zeroed bytes, likewise for ever
   * @param handlers by opcode
   * @param implemented by opcode: 1 where libfuse is to call the handler, else it answers ENOSYS itself
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
  /** Unmounts nothing: lets the event loop end without this mount. */
  fuse_native_unmount(mountpoint: string, thread: Buffer): void;
};

/** fuse-native.c: `napi_ref handlers[35]`. */
export const OPCODES = 35;

let loaded: FuseNativeBinding | undefined;

/**
 * Loads the binding, and before it the libfuse that it needs.
 *
 * node.napi.node NEEDs libfuse.so.2 and has no RPATH, so alone it loads only where the system has libfuse 2.
 * The package carries one with this SONAME; once that is loaded, the dynamic linker takes it for the NEEDED
 * entry (elf/dl-load.c, _dl_map_object, compares the DT_SONAME of what is loaded already). It is preferred to
 * the system's: both are 2.9.9, the last release of the 2.x series, and the shipped one is the same bytes on every machine
 * that these tests ran with. It looks for fusermount in /usr/local/bin and then in $PATH, so nothing is lost.
 * Where the package carries none (other architectures), the system's is used.
 *
 * Throws a CfsError of kind `mount` where neither can be loaded.
 */
export function loadFuseNative(): FuseNativeBinding {
  if (loaded !== undefined) return loaded;
  const manifest = locatePackage();
  const directory = path.dirname(manifest);
  const shipped = path.join(directory, 'prebuilds', `${process.platform}-${process.arch}`, 'libfuse.so');
  try {
    const libfuse = existsSync(shipped) ? koffi.load(shipped) : undefined;
    const nodeGypBuild = createRequire(manifest)('node-gyp-build') as (directory: string) => FuseNativeBinding;
    loaded = nodeGypBuild(directory);
    libfuse?.unload(); // koffi's hold on it; the binding has its own now
  } catch (cause) {
    throw new CfsError(
      'mount',
      `Cannot load the fuse-native driver: ${reasonOf(cause)}. Install libfuse 2 (Debian: libfuse2), or use the kernel driver.`,
      { cause },
    );
  }
  return loaded;
}

function locatePackage(): string {
  try {
    return createRequire(import.meta.url).resolve('fuse-native/package.json');
  } catch (cause) {
    throw new CfsError(
      'mount',
      'Cannot find the npm package fuse-native. Install the dependencies (npm ci), or use the kernel driver.',
      { cause },
    );
  }
}
