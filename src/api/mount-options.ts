/** Options of mounts, and the settings that they make: parts of api/mount.ts. */
import { resolve } from 'node:path';
import { CfsError } from '../base/error.ts';
import { escapedValue } from '../mount/option-list.ts';
import { formatMountWords, parseMountWords } from '../mount/option-words.ts';
import type { MountSettings } from '../mount/options.ts';
import type { VerifyMode as Verify } from '../objects/repository.ts';
import { readTrustedKeys } from '../sign/key-file.ts';
import { fetchImage, repositoryOf } from '../transfer/cached-image.ts';
import { given, pathGiven, repositoryPath } from './arguments.ts';
import { isUrl } from './network.ts';
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
 * Options of mounts with remote repositories: their objects are fetched when they are opened first, verified, and kept
 * in a cache, which all mounts of the machine may share.
 * @example
 * import { mount, type RemoteMountOptions } from '@cfs-images/cfs/mount';
 *
 * const remote: RemoteMountOptions = { cache: '/srv/cache', cacheSize: 20e9 };
 * const mounted = await mount('/srv/rootfs.cfs', '/mnt', { repositories: ['https://example.org/images'], ...remote });
 * await mounted.unmount();
 */
export interface RemoteMountOptions {
  /** The directory of the cache; default: /var/cache/cfs for root, else ~/.cache/cfs. Created if it is missing. */
  readonly cache?: string;
  /** Bytes of the objects in the cache, at most; default: no limit. */
  readonly cacheSize?: number;
  /**
   * Objects that are fetched before somebody opens them: those that the server's map lists as opened first (`hot`),
   * all, or none (`off`). Default: `hot`.
   */
  readonly prefetch?: 'off' | 'hot' | 'all';
  /** Permit `http://` to another machine: contents are verified, but others on the network learn which. */
  readonly insecure?: boolean;
  /** A file of certificates in PEM to trust beside those of node. */
  readonly cacert?: string;
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
export interface MountOptions extends RemoteMountOptions {
  /**
   * Repositories with the contents, searched in this order: local ones, and URLs of remote ones, with `|` between
   * mirrors, which are asked after all local ones and the cache.
   */
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

interface PreparedSettings {
  readonly settings: MountSettings;
  /** Call it when the mount has the image in use. */
  release(): void;
}

/** All settings that a command line would contain. */
export async function settingsOf(
  image: string,
  mountpoint: string,
  options: Omit<MountOptions, 'onLog'>,
  restart: boolean,
): Promise<PreparedSettings> {
  const { repositories = [], keys = [], upper, signal, ...rest } = options;
  const { verify } = rest;
  const paths = repositories.filter((each) => !isUrl(each)).map((each) => resolve(repositoryPath(each)));
  const place = resolve(pathGiven('mount point', mountpoint));
  const addresses = [...(isUrl(image) ? [repositoryOf(image)] : []), ...repositories.filter(isUrl)];
  const special = [...(upper === undefined ? [] : wordsOf(upper)), ...remoteWordsOf(addresses, options)];
  // beside these, some values of others are refused
  const words = special.length === 0 ? [] : [...special, ...(verify === undefined ? [] : [`verify=${verify}`])];
  const { uuid: _uuid, keys: _keys, ...defaults } = parseMountWords([words.join(',')]);
  const { requireComplete, nonempty, allowOther, suid, dev, exec, noatime, threads } = rest;
  const keyPaths = keys.map((key) => resolve(pathGiven('key', key)));
  const trustedKeys = keys.length > 0 ? readTrustedKeys(keys) : [];
  const { remote } = defaults;
  const fetched =
    isUrl(image) && remote !== undefined ? await fetchImage(image, remote, trustedKeys, signal) : undefined;
  const chosen = {
    verify: upper === undefined ? verify : defaults.verify,
    digest: rest.digest ?? fetched?.id,
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
  const complete = {
    ...settings,
    image: fetched?.path ?? resolve(pathGiven('image', image)),
    mountpoint: place,
    repositories: paths,
    words: formatMountWords({ ...settings, uuid: 'on', keys: keyPaths }),
    ...(keys.length > 0 ? { trustedKeys } : {}),
  };
  return { settings: complete, release: () => fetched?.release() };
}

/** The words of `-o` for remote repositories. @throws CfsError (usage) */
function remoteWordsOf(
  addresses: readonly string[],
  { cache, cacheSize, prefetch, insecure, cacert }: RemoteMountOptions,
): string[] {
  if (cacheSize !== undefined && !(Number.isSafeInteger(cacheSize) && cacheSize > 0)) {
    throw new CfsError('usage', `cacheSize is a number of bytes, not ${String(cacheSize)}`);
  }
  const pathWord = (key: string, path: string | undefined): string[] =>
    path === undefined ? [] : [`${key}=${escapedValue(resolve(pathGiven(key, path)))}`];
  return [
    ...addresses.map((address) => `repo=${escapedValue(address)}`),
    ...pathWord('cache', cache),
    ...(cacheSize === undefined ? [] : [`cache-size=${cacheSize}`]),
    ...(prefetch === undefined ? [] : [`prefetch=${prefetch}`]),
    ...(insecure === true ? ['insecure'] : []),
    ...pathWord('cacert', cacert),
  ];
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
