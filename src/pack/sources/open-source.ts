/** Opens what is to be packed. */
import { closeSync, constants, openSync, readlinkSync } from 'node:fs';
import type { ContentDigest } from '../../base/digest.ts';
import { isErrno } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { pathBytes, pathText } from '../../base/path-text.ts';
import { readImage } from '../../image/image-file.ts';
import type { ManifestTables } from '../../manifest/tables.ts';
import { askFd } from '../../mount-info/ask-mount-at.ts';
import { mountOfFd } from '../../mount-info/open-path.ts';
import type { SourceRecord } from '../../mount-info/source-record.ts';
import { openRootIfThere } from '../../store/gc/roots.ts';
import type { LocalRepository } from '../../store/local-repository.ts';
import { hasAdminCapability } from '../../system/admin-capability.ts';
import { syncFd } from '../../system/file-content-calls.ts';
import { inodeOf, statFd } from '../../system/file-status.ts';
import { listMounts } from '../../system/mount-table.ts';
import { syncfs } from '../../system/reading-writing.ts';
import { FileSystems } from '../file-systems.ts';
import type { SyncSource } from '../source.ts';
import { type DirectoryOptions, openDirectorySource, statOfPath } from './directory.ts';
import { settledChanges, type WritableMount } from './mount-state.ts';
import { tablesOfMount } from './mount-tables.ts';
import { WritableMountSource } from './writable-mount.ts';

export interface SourceOptions extends DirectoryOptions {
  readonly inlineMax: number;
  /** The repository that the objects go to. */
  readonly repository: LocalRepository;
  /** Every file is to be read. */
  readonly rehash: boolean;
  /** Receives the way that a writable mount of cfs is packed. */
  readonly onWay?: (line: string) => void;
}

/**
 * The directory `path` as a source. Of the root of a writable mount of cfs only what was changed is read, if that gives
 * the same.
 * @throws CfsError (source) if `path` is not a readable directory
 */
export function openSource(path: string, options: SourceOptions): SyncSource {
  const say = options.onWay ?? (() => undefined);
  const { exclusions } = options;
  const hasExclusions = exclusions?.caches === true || (exclusions?.patterns ?? []).length > 0;
  const fd = options.rehash || hasExclusions ? undefined : openRoot(path);
  if (fd === undefined) return openDirectorySource(path, options);
  let mount: WritableMount | string;
  try {
    mount = writableMount(fd, path);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  if (typeof mount === 'string') {
    closeSync(fd);
    if (mount !== '') say(`${path} is walked like any other directory: ${mount}`);
    return openDirectorySource(path, options);
  }
  const { tables, changes } = mount;
  say(`${path}: only its ${changes.records.length} changes are read`);
  const { exclude, inlineMax, repository } = options;
  const kinds = { store: 'store', image: 'image', signature: "image's signature" } as const;
  const excluded = new Map<number, string>();
  for (const kind of ['store', 'image', 'signature'] as const) {
    const found = exclude?.[kind] === undefined ? undefined : statOfPath(exclude[kind]);
    if (found?.device === mount.device) excluded.set(inodeOf(found), kinds[kind]);
  }
  return new WritableMountSource(mount, {
    ...options,
    exclude: excluded,
    inlineMax,
    hash: repository.hash,
    holds: repository.hash === tables.header.hash ? holderOf(repository, mount.imageId) : undefined,
    close: () => closeSync(fd),
  });
}

function openRoot(path: string): number | undefined {
  try {
    return openSync(pathBytes(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return undefined; // opening it as a directory reports the reason
  }
}

/**
 * The tables of the writable mount with this root, its changes included; undefined if `path` is none.
 * @throws CfsError: `usage` if they cannot be made from its image and its changes; as `tablesOfMount`
 */
export function tablesAt(path: string): ManifestTables | undefined {
  const fd = openRoot(path);
  if (fd === undefined) return undefined;
  try {
    const mount = writableMount(fd, path);
    if (mount === '') return undefined;
    if (typeof mount !== 'string') return tablesOfMount(mount);
    throw new CfsError('usage', `Cannot compare ${path} with its changes: ${mount}`, {
      hint: 'Compare an image of it.',
    });
  } finally {
    closeSync(fd);
  }
}

/** The mount of an open directory; else the reason why it is a directory like any other, empty for nothing to say. */
function writableMount(fd: number, path: string): WritableMount | string {
  const answer = askFd(fd);
  if (isErrno(answer) || !answer.sources.some(({ kind }) => kind === 'upperdir')) return '';
  const stat = statFd(fd);
  if (isErrno(stat) || stat.inodeLow !== 1 || stat.inodeHigh !== 0) return 'it is not the root of the mount';
  const mounts = listMounts();
  const own = mountOfFd(fd, mounts);
  if (own === undefined) return 'it is in another mount namespace';
  if (mounts.some(({ parentId }) => parentId === own.mountId)) return 'something is mounted in it';
  const options = Buffer.from(answer.mount.options).toString('latin1').split(',');
  for (const word of ['index=off', 'nooverlayxattr', 'inode32']) {
    if (options.includes(word)) return `it has the option ${word}`;
  }
  if (!isOfSameUsers(answer.mount.pid)) return 'its users may have other numbers here';
  const image = readTables(answer.sources[0], answer.mount.imageId);
  if (typeof image === 'string') return image;
  // pages that were written to are clean then, so that further stores change the times
  syncfs(fd);
  syncFd(fd, false);
  const asked = settledChanges(fd);
  if (asked === undefined) return 'it does not list its changes';
  const { began, changes } = asked;
  if (changes.isHidden || changes.isIncomplete) return 'it does not list all of its changes';
  if (changes.records.some(({ path: one }) => one.length > LONGEST)) return 'it has paths that are too long';
  const upper = answer.sources.find(({ kind }) => kind === 'upperdir');
  return {
    root: fd,
    path: pathBytes(path),
    imageId: answer.mount.imageId,
    tables: image,
    changes,
    began,
    device: stat.device,
    ...upperOf(upper),
    seesTrusted: isAdministrator(),
  };
}

const LONGEST = 4000;
function readTables(source: SourceRecord | undefined, id: string): ManifestTables | string {
  if (source?.path === undefined) return 'its image was deleted';
  try {
    return readImage(pathText(source.path), id).tables;
  } catch (error) {
    return `its image cannot be read: ${reasonOf(error)}`;
  }
}

/** The file system of the upper directory, if it is reached, and a name for it. */
function upperOf(source: SourceRecord | undefined): Pick<WritableMount, 'upper' | 'name'> {
  const name = `upper-${source?.device.major}-${source?.device.minor}-${source?.ino}`;
  if (source?.path === undefined) return { upper: undefined, name };
  let fd: number;
  try {
    fd = openSync(Buffer.from(source.path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch {
    return { upper: undefined, name };
  }
  try {
    const stat = statFd(fd);
    if (isErrno(stat) || BigInt(stat.inodeHigh) * 0x1_0000_0000n + BigInt(stat.inodeLow) !== source.ino) {
      return { upper: undefined, name };
    }
    const systems = new FileSystems();
    systems.meet(stat.device, fd);
    return { upper: systems.trusted(stat.device), name };
  } finally {
    closeSync(fd);
  }
}

/** Whether this process and the server, and so the mount, are in one user namespace. */
function isOfSameUsers(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync('/proc/self/ns/user');
  } catch {
    return false;
  }
}

function isAdministrator(): boolean {
  try {
    return hasAdminCapability('self');
  } catch {
    return false;
  }
}

/**
 * Whether a repository has the objects of an image: all of them, if it is registered there as complete; else each is
 * looked for. Called while the repository is locked.
 */
function holderOf(repository: LocalRepository, image: string): (content: ContentDigest) => boolean {
  let isComplete: boolean | undefined;
  return ({ digest, size }) => {
    isComplete ??= isRegistered(repository, image);
    if (isComplete) return true;
    const held = repository.size(digest);
    return !isErrno(held) && held === size;
  };
}

function isRegistered(repository: LocalRepository, image: string): boolean {
  try {
    const root = openRootIfThere(repository, image);
    root?.close();
    return root?.header.complete === true;
  } catch (error) {
    if (error instanceof CfsError) return false;
    throw error;
  }
}
