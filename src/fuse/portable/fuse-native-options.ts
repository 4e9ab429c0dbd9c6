/** What a mount of the portable driver is made with: what it must refuse, and the arguments of libfuse. */
import { realpath, stat } from 'node:fs/promises';
import { isMainThread } from 'node:worker_threads';
import { CfsError, reasonOf } from '../../base/error.ts';
import { hasEscapes } from '../../base/path-text.ts';
import type { Filesystem } from '../../fs/filesystem.ts';
import type { KernelMountOptions } from '../kernel-mount.ts';

/** `allowOther` without root: /etc/fuse.conf must say user_allow_other. */
export interface FuseNativeOptions extends KernelMountOptions {
  /** Receives one line for each event that a person should know about. */
  log(line: string): void;
}

/** "Forever", in seconds: an image does not change. */
const CACHE_SECONDS = 2 ** 31 - 1;
/** `NAPI_ARGV_UTF8(…, 1024, …)` in fuse_native_mount truncates longer strings. */
const MAX_ARGUMENT_BYTES = 1023;

/** @throws CfsError (mount) if the driver cannot mount this file system so */
export function refuseWhatIsNotCarried(fs: Filesystem, options: FuseNativeOptions): void {
  if (hasEscapes(options.mountpoint)) {
    throw new CfsError(
      'mount',
      `Cannot mount on ${options.mountpoint} with fuse-native: it takes mount points in UTF-8 only`,
      { hint: 'Use the kernel driver, or another mount point.' },
    );
  }
  if (!isMainThread) throw new CfsError('mount', 'Cannot mount with fuse-native from a worker thread.');
  // FUSE_POSIX_ACL came with FUSE 7.26. Without it the owning group gets the group bits, which are the ACL's mask.
  if (options.allowOther && fs.features.acls) {
    throw new CfsError(
      'mount',
      'Cannot mount this image for other users with fuse-native: it has POSIX ACLs, and under libfuse 2 the kernel ' +
        'does not enforce them',
      { hint: 'Use the kernel driver, or do not allow other users.' },
    );
  }
}

/** The real path: umount2 is called with UMOUNT_NOFOLLOW, and a symbolic link may be put in the way later. */
export async function resolveMountpoint(mountpoint: string): Promise<string> {
  let real: string;
  try {
    real = await realpath(mountpoint);
    if (!(await stat(real)).isDirectory()) throw new Error('it is not a directory');
  } catch (cause) {
    throw new CfsError('mount', `Cannot mount on ${mountpoint}: ${reasonOf(cause)}.`, { cause });
  }
  checkArgument(real, `the mount point ${real}`);
  return real;
}

/** The -o argument; see mount.fuse(8). Commas and backslashes in a value are escaped (libfuse, lib/fuse_opt.c). */
export function libfuseOptions(options: FuseNativeOptions): string {
  const source = (options.source || 'cfs').replace(/[\\,]/g, '\\$&');
  const list = [
    'ro,default_permissions',
    options.suid ? 'suid' : 'nosuid',
    options.dev ? 'dev' : 'nodev',
    `subtype=cfs,fsname=${source}`,
    'use_ino,kernel_cache',
    `entry_timeout=${CACHE_SECONDS},attr_timeout=${CACHE_SECONDS},negative_timeout=${CACHE_SECONDS}`,
  ];
  if (!options.exec) list.push('noexec');
  if (options.noatime) list.push('noatime');
  if (options.allowOther) list.push('allow_other');
  // mount(2) does not require an empty directory, but libfuse 2 does; fusermount3 does not know the option.
  if (process.geteuid?.() === 0) list.push('nonempty');
  const text = `-o${list.join(',')}`;
  checkArgument(text, `the source ${options.source}`);
  return text;
}

function checkArgument(text: string, what: string): void {
  if (Buffer.byteLength(text) > MAX_ARGUMENT_BYTES) {
    throw new CfsError('mount', `Cannot mount with fuse-native: ${what} is too long (about 1,000 bytes are possible).`);
  }
}
