/**
 * The portable driver: a `Filesystem` mounted through the npm package `fuse-native` and libfuse 2.
 *
 * libfuse 2 uses paths, FUSE 7.19 and text, so it has limitations. None of them silently shows wrong data:
 *
 * | feature | here |
 * |---|---|
 * | names that are not UTF-8, or have U+FFFD (N-API's replacement) | hidden and logged; EILSEQ by name |
 * | symbolic link targets that are not UTF-8 | EILSEQ |
 * | xattr names that are not UTF-8 | listed unchanged; EILSEQ when read. Values are bytes and exact |
 * | 52-bit stable ids | `st_ino` has 32 bits, unique in a mount: see ShownInodes |
 * | nanoseconds | cut to milliseconds |
 * | times before 1970 | 1970-01-01T00:00:00Z, and a line in the log |
 * | file handles | libfuse's node numbers: ESTALE once the inode leaves the cache, another file's after a remount |
 * | POSIX ACLs | readable, but the kernel checks mode bits only: refused together with `allowOther` |
 * | SEEK_HOLE, SEEK_DATA, FUSE passthrough, readdirplus | not in the protocol of libfuse 2 |
 * | hard links | same `st_ino` and `st_nlink`, but each name has its own page cache |
 *
 * The operations run on the thread that mounted: the main thread, since fuse-native.c uses uv_default_loop().
 * A synchronous call of this thread into its own mount would wait for itself.
 */

import { execFile } from 'node:child_process';
import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { stat, statfs } from 'node:fs/promises';
import { promisify } from 'node:util';
import { EBUSY, EINVAL, EPERM, type Errno, errnoName } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import type { Log } from '../../base/log.ts';
import type { Filesystem } from '../../fs/filesystem.ts';
import { setInherit } from '../../system/descriptors.ts';
import { MNT_DETACH, UMOUNT_NOFOLLOW, umount2 } from '../../system/mount-calls.ts';
import { listMounts, mountAt } from '../../system/mount-table.ts';
import { Operations } from './fuse-native-operations.ts';
import {
  type FuseNativeOptions,
  libfuseOptions,
  refuseWhatIsNotCarried,
  resolveMountpoint,
} from './fuse-native-options.ts';
import { type FuseNativeBinding, loadFuseNative } from './libfuse.ts';

export interface FuseNativeMount {
  /** The mount point, absolute and without symbolic links. */
  readonly mountpoint: string;
  /**
   * Unmounts, and resolves when `ended` does. Rejects with a CfsError if the mount is in use. With `lazy` it detaches
   * the mount at once and resolves then; open files stay readable, and `ended` follows when the last one is closed.
   */
  unmount(options?: { readonly lazy?: boolean }): Promise<void>;
  /** Resolves when no more requests can arrive, however it was unmounted, and everything is closed. Never rejects. */
  readonly ended: Promise<void>;
}

const DEVICE = '/dev/fuse';
const STDERR = 2;
/** The interval of checks for an unmount. One readlink(2) each time. */
const WATCH_INTERVAL_MS = 200;
/** The same while `unmount` waits. */
const UNMOUNT_INTERVAL_MS = 5;
/** Memory that the native side points into. Never freed: libuv keeps the handles in it to the end of the process. */
const keptForNative: object[] = [];
/** Mounts that have not ended, by descriptor of /dev/fuse. */
const living = new Map<number, Mount>();

/**
 * Mounts `fs`, read-only, and resolves when the mount answers. Must be called on the main thread, which then also calls
 * `fs`. Without root the directory must be empty, and fusermount in $PATH. Throws a CfsError of kind `mount`.
 */
export async function mountFuseNative(fs: Filesystem, options: FuseNativeOptions): Promise<FuseNativeMount> {
  refuseWhatIsNotCarried(fs, options);
  const mountpoint = await resolveMountpoint(options.mountpoint);
  const optionString = libfuseOptions(options);
  const underlying = (await stat(mountpoint)).dev;
  const log = neverThrowing((line) => options.log(line));
  const native = loadFuseNative(log);
  const operations = new Operations(fs, native, log);

  let onInit = (): void => {};
  const initialized = new Promise<void>((resolve) => {
    onInit = resolve;
  });
  const { thread, device } = startNative(native, operations, mountpoint, optionString, onInit);
  const mount = new Mount(native, operations, mountpoint, thread, device);
  await Promise.race([initialized, mount.ended]);
  await mount.confirm(underlying);
  return mount;
}

/** A failing log must not cost an answer or an unmount. */
function neverThrowing(log: Log): Log {
  return (...line) => {
    try {
      log(...line);
    } catch {
      // there is no other place to report it
    }
  };
}

/** Calls mount(2) and starts libfuse's threads; `device` is the descriptor that they read. */
function startNative(
  native: FuseNativeBinding,
  operations: Operations,
  mountpoint: string,
  optionString: string,
  onInit: () => void,
): { readonly thread: Buffer; readonly device: number } {
  const { handlers, implemented } = operations.table(onInit);
  const thread = Buffer.alloc(native.sizeof_fuse_thread_t);
  const allocate = (size: number): Buffer => {
    const memory = Buffer.alloc(size);
    keptForNative.push(memory);
    return memory;
  };
  keptForNative.push(thread);
  const before = fuseDescriptors();
  // Node makes its standard streams close-on-exec, so fusermount could not say why it refused.
  setInherit(STDERR, true);
  try {
    native.fuse_native_mount(mountpoint, optionString, thread, {}, allocate, handlers, implemented);
  } catch (cause) {
    abandon(native, mountpoint, thread, before);
    throw new CfsError('mount', `Cannot mount on ${mountpoint}: libfuse failed; its reason is on stderr.`, { cause });
  } finally {
    setInherit(STDERR, false);
  }
  const [device] = newDescriptors(before);
  if (device === undefined) {
    umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
    throw new CfsError('mount', `Cannot mount on ${mountpoint}: the descriptor of ${DEVICE} was not found in /proc.`);
  }
  // libfuse opens it without O_CLOEXEC: a child that inherits it would prevent the end of a dead mount.
  setInherit(device, false);
  return { thread, device };
}

/** After a failure: fuse_native_mount may have mounted, and may keep the event loop alive. */
function abandon(native: FuseNativeBinding, mountpoint: string, thread: Buffer, before: ReadonlySet<number>): void {
  for (const descriptor of newDescriptors(before)) {
    umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
    closeSync(descriptor);
  }
  native.fuse_native_unmount(mountpoint, thread);
}

function fuseDescriptors(): Set<number> {
  return new Set(readdirSync('/proc/self/fd').map(Number).filter(isFuseDevice));
}

function newDescriptors(before: ReadonlySet<number>): number[] {
  return [...fuseDescriptors()].filter((descriptor) => !before.has(descriptor));
}

function isFuseDevice(descriptor: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === DEVICE;
  } catch {
    return false;
  }
}

/**
 * A mount from mount(2) to the end of libfuse's session. fuse-native does not report that end. But libfuse closes its
 * descriptor then, after the last request (fuse_unmount in start_fuse_thread), and this is detected here: node cannot
 * poll(2) a descriptor that is not its own. /proc/self/mountinfo would report it too early, since a lazily detached
 * mount still serves its open files.
 */
class Mount implements FuseNativeMount {
  readonly mountpoint: string;
  readonly ended: Promise<void>;
  readonly #native: FuseNativeBinding;
  readonly #operations: Operations;
  readonly #thread: Buffer;
  readonly #descriptor: number;
  #mountId = -1;
  #watch: NodeJS.Timeout | undefined;
  #isOver = false;
  #onEnd: () => void = () => {};

  constructor(
    native: FuseNativeBinding,
    operations: Operations,
    mountpoint: string,
    thread: Buffer,
    descriptor: number,
  ) {
    this.#native = native;
    this.#operations = operations;
    this.mountpoint = mountpoint;
    this.#thread = thread;
    this.#descriptor = descriptor;
    this.ended = new Promise((resolve) => {
      this.#onEnd = resolve;
    });
    const previous = living.get(descriptor);
    if (previous !== undefined) previous.#finish(); // it ended unseen, and its descriptor was used again
    living.set(descriptor, this);
    this.#watchEvery(WATCH_INTERVAL_MS);
  }

  /** Asks the mount for its root, so that a file system that cannot even answer that is not left mounted. */
  async confirm(underlying: number): Promise<void> {
    try {
      const { dev } = await stat(this.mountpoint);
      const id = mountAt(this.mountpoint)?.mountId;
      if (dev === underlying || id === undefined) throw new Error('it was unmounted at once');
      this.#mountId = id;
    } catch (cause) {
      if (!this.#isOver) await this.#detach(true).catch(() => {});
      throw new CfsError('mount', `Cannot mount on ${this.mountpoint}: ${reasonOf(cause)}.`, { cause });
    }
  }

  async unmount(options: { readonly lazy?: boolean } = {}): Promise<void> {
    const lazy = options.lazy ?? false;
    this.#look();
    if (this.#isOver) return this.ended;
    if (mountAt(this.mountpoint)?.mountId === this.#mountId) await this.#detach(lazy);
    else if (listMounts().some(({ mountId }) => mountId === this.#mountId)) {
      throw this.#cannotUnmount('something else is mounted over it, or it was moved; unmount that first');
    } // otherwise it was detached before
    if (lazy) return;
    this.#watchEvery(UNMOUNT_INTERVAL_MS);
    await this.ended;
  }

  /** Detaches the mount. */
  async #detach(lazy: boolean): Promise<void> {
    const result: Errno | 0 = umount2(this.mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0));
    if (result === 0 || result === EINVAL) return; // EINVAL: no longer a mount point
    if (result === EPERM) return this.#detachAsUser(lazy);
    if (result === EBUSY) {
      throw this.#cannotUnmount(
        'it is in use; end the processes that use it (fuser -vm lists them), or unmount lazily',
      );
    }
    throw this.#cannotUnmount(errnoName(result));
  }

  /** Without root: fuse 3's helper, or fuse 2's. */
  async #detachAsUser(lazy: boolean): Promise<void> {
    const args = [lazy ? '-uz' : '-u', '--', this.mountpoint];
    const run = promisify(execFile);
    try {
      await run('fusermount3', args).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
        return run('fusermount', args);
      });
    } catch (error) {
      const said = (error as { readonly stderr?: string }).stderr?.trim();
      throw this.#cannotUnmount(said || reasonOf(error));
    }
  }

  #cannotUnmount(reason: string): CfsError {
    return new CfsError('mount', `Cannot unmount ${this.mountpoint}: ${reason}.`);
  }

  #watchEvery(milliseconds: number): void {
    clearInterval(this.#watch);
    if (!this.#isOver) this.#watch = setInterval(() => this.#look(), milliseconds);
  }

  #look(): void {
    if (!this.#isOver && !isFuseDevice(this.#descriptor)) this.#finish();
  }

  #finish(): void {
    this.#isOver = true;
    clearInterval(this.#watch);
    if (living.get(this.#descriptor) === this) living.delete(this.#descriptor);
    this.#native.fuse_native_unmount(this.mountpoint, this.#thread);
    this.#operations.end();
    void this.#removeDeadMount().finally(this.#onEnd);
  }

  /** An aborted connection (umount -f, or `abort` in fusectl) ends the session and leaves a mount that is dead. */
  async #removeDeadMount(): Promise<void> {
    try {
      await statfs(this.mountpoint);
    } catch (error) {
      // No other mount can be in its place: that would have answered.
      if ((error as NodeJS.ErrnoException).code === 'ENOTCONN') await this.#detach(true).catch(() => {});
    }
  }
}
