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
import { escapedValue } from '../mount/option-list.ts';
import { formatMountWords, parseMountWords } from '../mount/option-words.ts';
import type { MountSettings } from '../mount/options.ts';
import type { VerifyMode as Verify } from '../objects/repository.ts';
import { readTrustedKeys } from '../sign/key-file.ts';
import { type MountEntry, listMounts as mountsHere } from '../system/mount-table.ts';
import { abortable, given, pathGiven, repositoryPath } from './arguments.ts';
import type { Repository } from './repository.ts';

/**
 * When contents are verified. `auto` and `open`: an object as a whole when it is first opened, `auto` by its seal if it
 * has one; `read`: each block when it is read; `fsverity`: by seals alone; `off`: never.
 * @example
 * import { mount, type VerifyMode } from '@cfs-images/cfs/mount';
 *
 * const verify: VerifyMode = 'read';
 * const mounted = await mount('/srv/rootfs.cfs', '/mnt', { repositories: ['/srv/store'], verify });
 * await mounted.unmount();
 */
export type VerifyMode = Verify;

/**
 * An upper layer, with which a mount can be written: all changes are kept in a directory, in the format of overlayfs.
 * The names and conflicts of the options are those of overlayfs. Both directories must be there, on one file system
 * that this machine alone writes, and be used by no other mount.
 * @example
 * import { mkdir, writeFile } from 'node:fs/promises';
 * import { mount, type UpperLayer } from '@cfs-images/cfs/mount';
 *
 * const upper: UpperLayer = { upperdir: '/srv/layer/changes', workdir: '/srv/layer/work' };
 * for (const path of [upper.upperdir, upper.workdir]) await mkdir(path, { recursive: true });
 * const mounted = await mount('/srv/rootfs.cfs', '/mnt', { repositories: ['/srv/store'], upper });
 * await writeFile('/mnt/new', 'it is in /srv/layer/changes');
 * await mounted.unmount();
 */
export interface UpperLayer {
  /** The directory for the changes. */
  readonly upperdir: string;
  /** A directory for files that are not complete yet; empty at first, and not inside of `upperdir`. */
  readonly workdir: string;
  /** Show the changes that are there, and change nothing; several such mounts may share an `upperdir`. Default: no. */
  readonly readOnly?: boolean;
  /** Use xattrs of `user.`, not of `trusted.`, for an ordinary user. Excludes `redirectDir` and `metacopy`. */
  readonly userxattr?: boolean;
  /** Write nothing to the disk before it is convenient: after a crash of the machine the changes are lost. */
  readonly volatile?: boolean;
  /**
   * Directories of the image are renamed by a note of their former place, which is otherwise only read (`follow`), or
   * refused (`nofollow`); `off` is `follow`. Default: `on`, with `userxattr` `nofollow`.
   */
  readonly redirectDir?: 'on' | 'follow' | 'nofollow' | 'off';
  /** A change of owner, mode or times copies no content. Needs `redirectDir: 'on'`. Default: yes, if that is so. */
  readonly metacopy?: boolean;
  /** Hard links of the image stay links when they are changed; otherwise each name becomes a file. Default: yes. */
  readonly index?: boolean;
  /** true: give `upperdir` a uuid, for mounts of overlayfs, if it has none. Default: it stays as it is. */
  readonly uuid?: boolean;
}

/**
 * Options of mounting.
 * @example
 * import { mount, type MountOptions } from '@cfs-images/cfs/mount';
 *
 * const onLog: MountOptions['onLog'] = (line, severity) => console.error(severity, line);
 * const options: MountOptions = { repositories: ['/srv/store'], onLog };
 * const { unmount } = await mount('/srv/rootfs.cfs', '/mnt', options);
 * await unmount();
 */
export interface MountOptions {
  /** Repositories with the contents, searched in this order. */
  readonly repositories?: readonly (string | Repository)[];
  /** Default: auto; with an upper layer always `read`. */
  readonly verify?: VerifyMode;
  /** The mount refuses any other image than the one with this id, or this fs-verity digest. */
  readonly digest?: string;
  /** Files of public keys in PEM: the mount refuses an image that is signed by none of them. */
  readonly keys?: readonly string[];
  /** Refuse an image if one of its objects is in no repository. */
  readonly requireComplete?: boolean;
  /** Makes a mount that can be written; default: the mount is read-only. */
  readonly upper?: UpperLayer;
  /** Mount over a directory that is not empty, or already has a mount. */
  readonly nonempty?: boolean;
  /** Let other users access the mount; default: yes if root mounts. */
  readonly allowOther?: boolean;
  /** Obey set-user-ID bits, and devices; default: no. Execute files; default: yes. */
  readonly suid?: boolean;
  readonly dev?: boolean;
  readonly exec?: boolean;
  readonly noatime?: boolean;
  /** The number of threads that serve; default: two. */
  readonly threads?: number;
  /** Aborts mounting, which then rejects with a CfsError (interrupted). */
  readonly signal?: AbortSignal;
  /** Called with a line for people about each problem of the mount. Not with `mountInBackground`. */
  readonly onLog?: (line: string, severity: 'error' | 'warning' | 'notice' | 'info' | 'debug') => void;
}

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
 * @throws CfsError: `image`, `store`, `mount`, `usage`, `interrupted`
 * @example
 * import { readdir } from 'node:fs/promises';
 * import { mount } from '@cfs-images/cfs/mount';
 *
 * const mounted = await mount('/srv/rootfs.cfs', '/mnt', { repositories: ['/srv/store'] });
 * console.log(await readdir('/mnt'));
 * await mounted.unmount();
 */
export function mount(image: string, mountpoint: string, options: MountOptions = {}): Promise<Mount> {
  return abortable(options.signal, async () => {
    const settings = settingsOf(image, mountpoint, options, false);
    const log: Log = (line, severity = 'warning') => options.onLog?.(line, severity);
    const mounted = await mountImage({ ...settings, log });
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
    const settings = settingsOf(image, mountpoint, options, options.restart ?? true);
    const { logFile } = options;
    const log = logFile === undefined ? {} : { logFile: resolve(pathGiven('log', logFile)) };
    const { id, passthrough, pid, ...mounted } = await new StartingDaemon([image, mountpoint]).mount(
      { ...settings, ...log },
      signal,
    );
    return { id, mountpoint: mounted.mountpoint, passthrough, pid };
  });
}

/** All settings that a command line would contain. */
function settingsOf(
  image: string,
  mountpoint: string,
  options: Omit<MountOptions, 'onLog'>,
  restart: boolean,
): MountSettings {
  const { repositories = [], keys = [], upper, signal: _signal, ...rest } = options;
  const { verify } = rest;
  // with an upper layer, some values of others are refused
  const words = upper === undefined ? [] : [...wordsOf(upper), ...(verify === undefined ? [] : [`verify=${verify}`])];
  const { uuid: _uuid, keys: _keys, ...defaults } = parseMountWords([words.join(',')]);
  const { digest, requireComplete, nonempty, allowOther, suid, dev, exec, noatime, threads } = rest;
  const chosen = {
    verify: upper === undefined ? verify : defaults.verify,
    digest,
    requireComplete,
    nonempty,
    allowOther,
    suid,
    dev,
    exec,
    noatime,
    threads,
  };
  const settings = { ...defaults, ...given(chosen), restart, debug: false };
  const paths = repositories.map((each) => resolve(repositoryPath(each)));
  return {
    ...settings,
    image: resolve(pathGiven('image', image)),
    mountpoint: resolve(pathGiven('mount point', mountpoint)),
    repositories: paths,
    words: formatMountWords({ ...settings, uuid: 'on', keys: keys.map((key) => resolve(pathGiven('key', key))) }),
    ...(keys.length > 0 ? { trustedKeys: readTrustedKeys(keys) } : {}),
  };
}

/** The words of `-o` for an upper layer. */
function wordsOf(upper: UpperLayer): string[] {
  const { upperdir, workdir, readOnly, userxattr, volatile, redirectDir, metacopy, index, uuid } = upper;
  const onOff = (name: string, value: boolean | undefined): string[] =>
    value === undefined ? [] : [`${name}=${value ? 'on' : 'off'}`];
  const plain = (name: string, value: boolean | undefined): string[] => (value === true ? [name] : []);
  return [
    `upperdir=${escapedValue(resolve(pathGiven('upperdir', upperdir)))}`,
    `workdir=${escapedValue(resolve(pathGiven('workdir', workdir)))}`,
    ...plain('ro', readOnly),
    ...plain('userxattr', userxattr),
    ...plain('volatile', volatile),
    ...(redirectDir === undefined ? [] : [`redirect_dir=${redirectDir}`]),
    ...onOff('metacopy', metacopy),
    ...onOff('index', index),
    ...onOff('uuid', uuid),
  ];
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
