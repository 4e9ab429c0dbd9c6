/**
 * Mounting images, and listing mounts. Linux, with FUSE in the kernel.
 * @module
 */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoName, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { unmountKernel } from '../fuse/kernel-mount.ts';
import { StartingDaemon } from '../mount/daemon.ts';
import { mountImage } from '../mount/mount.ts';
import { type MountEntry, listMounts as mountsHere } from '../system/mount-table.ts';
import { abortable, pathGiven } from './arguments.ts';
import { type MountOptions, settingsOf } from './mount-options.ts';

export type { MountOptions, RemoteMountOptions, UpperLayer, VerifyMode } from './mount-options.ts';

/**
 * A mount that this process serves.
 * @example
 * import { type Mount, mount } from '@cfs-images/cfs/mount';
 *
 * const mounted: Mount = await mount('/srv/rootfs.cfs', '/mnt', { repositories: ['/srv/store'] });
 * mounted.ended.then(() => console.log('it has ended'));
 * await mounted.unmount();
 */
export interface Mount {
  /** The image id. */
  readonly id: string;
  /** Absolute, without symbolic links. */
  readonly mountpoint: string;
  /** The kernel reads contents by itself, which is fastest: if root mounts, on Linux 6.9 and later. */
  readonly passthrough: boolean;
  /** Unmounts, and waits until nothing of the mount is left, including programs that still have files of it open. */
  unmount(): Promise<void>;
  /** Resolves when the mount has ended, by `unmount` or by umount(8). */
  readonly ended: Promise<void>;
}

/**
 * Mounts an image, and serves it from threads of this process: they keep it alive as long as the mount exists. Unmount
 * before the process ends: otherwise it leaves a dead mount, which `unmount` removes. No file of the mount may be read
 * with a synchronous function of this process before `mount` has resolved.
 * @param image its file, or `https://HOST/PATH#NAME` or `…@ID` of one in a remote repository: it is fetched into the
 *   cache, and its repository is asked for objects before other remote ones
 * @throws CfsError: `image`, `store`, `mount`, `usage`, `interrupted`
 * @example
 * import { readdir } from 'node:fs/promises';
 * import { mount } from '@cfs-images/cfs/mount';
 *
 * const mounted = await mount('/srv/rootfs.cfs', '/mnt', { repositories: ['/srv/store'] });
 * console.log(await readdir('/mnt'));
 * await mounted.unmount();
 * const remote = await mount('https://example.org/images#rootfs', '/mnt', { cache: '/srv/cache' });
 * await remote.unmount();
 */
export function mount(image: string, mountpoint: string, options: MountOptions = {}): Promise<Mount> {
  return abortable(options.signal, async () => {
    const { settings, release } = await settingsOf(image, mountpoint, options, false);
    const log: Log = (line, severity = 'warning') => options.onLog?.(line, severity);
    const mounted = await mountImage({ ...settings, log }).finally(release);
    const { id, mountpoint: where, passthrough, ended } = mounted;
    const unmountIt = async (): Promise<void> => {
      await mounted.unmount();
      await ended;
    };
    if (options.signal?.aborted === true) {
      await unmountIt();
      throw options.signal.reason;
    }
    return { id, mountpoint: where, passthrough, ended, unmount: unmountIt };
  });
}

/**
 * A mount that a separate process serves.
 * @example
 * import { type BackgroundMount, mountInBackground, unmount } from '@cfs-images/cfs/mount';
 *
 * const repositories = ['/srv/store'];
 * const { pid }: BackgroundMount = await mountInBackground('/srv/rootfs.cfs', '/mnt', { repositories });
 * console.log(pid);
 * await unmount('/mnt');
 */
export interface BackgroundMount {
  readonly id: string;
  readonly mountpoint: string;
  readonly passthrough: boolean;
  /** The id of the process that serves it now. */
  readonly pid: number;
}

/**
 * Mounts an image, and starts a process that serves it and outlives this one, as `cfs-mount` does. If that process
 * dies, another continues.
 * @param options `logFile`: problems are appended to it; default: the journal or syslog. `restart`:
 *   false if no other process is to continue
 * @throws CfsError: `image`, `store`, `mount`, `usage`, `interrupted`
 * @example
 * import { mountInBackground, unmount } from '@cfs-images/cfs/mount';
 *
 * await mountInBackground('/srv/rootfs.cfs', '/mnt', { repositories: ['/srv/store'], logFile: '/srv/mount.log' });
 * await unmount('/mnt');
 */
export function mountInBackground(
  image: string,
  mountpoint: string,
  options: Omit<MountOptions, 'onLog'> & { readonly logFile?: string; readonly restart?: boolean } = {},
): Promise<BackgroundMount> {
  const signal = options.signal ?? new AbortController().signal;
  return abortable(signal, async () => {
    const { settings, release } = await settingsOf(image, mountpoint, options, options.restart ?? true);
    const { logFile } = options;
    const log = logFile === undefined ? {} : { logFile: resolve(pathGiven('log', logFile)) };
    const { id, passthrough, pid, ...mounted } = await new StartingDaemon([settings.image, mountpoint])
      .mount({ ...settings, ...log }, signal)
      .finally(release);
    return { id, mountpoint: mounted.mountpoint, passthrough, pid };
  });
}

/**
 * A mount of an image on this machine.
 * @example
 * import { listMounts, type MountPlace } from '@cfs-images/cfs/mount';
 *
 * const text = ({ mountpoint, source }: MountPlace): string => `${source} on ${mountpoint}`;
 * for (const place of listMounts()) console.log(text(place));
 */
export interface MountPlace {
  readonly mountpoint: string;
  /** Usually the image's path. */
  readonly source: string;
}

const isImage = ({ type }: MountEntry): boolean => type === 'fuse.cfs';

/**
 * The mounts of images that this process sees, by any server, including dead ones.
 * @throws CfsError (system) if /proc is not mounted
 * @example
 * import { listMounts } from '@cfs-images/cfs/mount';
 *
 * console.log(listMounts().map(({ mountpoint }) => mountpoint));
 */
export function listMounts(): MountPlace[] {
  return mountsHere()
    .filter(isImage)
    .map(({ mountpoint, source }) => ({ mountpoint, source }));
}

/**
 * Unmounts a mount of an image, by any server: the one on top at this directory. Programs that have files of it open
 * keep them until they are done.
 * @throws CfsError (mount) if no image is mounted there, or this user may not unmount it
 * @example
 * import { mountInBackground, unmount } from '@cfs-images/cfs/mount';
 *
 * await mountInBackground('/srv/rootfs.cfs', '/mnt', { repositories: ['/srv/store'] });
 * await unmount('/mnt');
 */
export async function unmount(mountpoint: string): Promise<void> {
  const path = placeOf(pathGiven('mount point', mountpoint));
  const there = mountsHere().findLast((entry) => entry.mountpoint === path);
  const fail = (reason: string, hint?: string): never => {
    throw new CfsError('mount', `Cannot unmount ${mountpoint}: ${reason}`, { hint });
  };
  if (there === undefined || !isImage(there))
    return fail('no image is mounted there', '`listMounts` lists those that are.');
  const result = unmountKernel(path, there.device, process.geteuid?.() !== 0);
  if (isErrno(result)) fail(errnoName(result));
}

/** Without symbolic links; the path of a dead mount is only made absolute. */
function placeOf(mountpoint: string): string {
  try {
    return realpathSync(mountpoint);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTCONN') return resolve(mountpoint);
    throw new CfsError('mount', `Cannot unmount ${mountpoint}: ${reasonOf(error)}`, { cause: error });
  }
}
