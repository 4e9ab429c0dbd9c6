/** `cfs-mount --rebase`: goes on over a new image, usually the one that was made of the mount, without unmounting. */
import { closeSync, constants, openSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { equalBytes } from '../base/bytes.ts';
import { ContentHasher, digestContent } from '../base/digest.ts';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { pathText } from '../base/path-text.ts';
import { isCtimeSettled } from '../base/settled-ctime.ts';
import { makeDevice, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { openImage, readOpenImage } from '../image/image-file.ts';
import { inlineOf, lookupPath, objectDigest, objectOf } from '../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';
import { changesOf } from '../mount-info/ask-changes.ts';
import { askMountAt, mountpointOf } from '../mount-info/ask-mount-at.ts';
import type { ChangeRecord } from '../mount-info/change-records.ts';
import type { SourceRecord } from '../mount-info/source-record.ts';
import { readContent } from '../objects/read-content.ts';
import { openBeneath, openHow } from '../system/beneath.ts';
import { closeFd } from '../system/descriptors.ts';
import { inodeOf, statFd } from '../system/file-status.ts';
import { identityOf } from '../system/process-identity.ts';
import { syncfs } from '../system/reading-writing.ts';
import { openPrivate } from '../upper/private-files.ts';
import {
  hintFor,
  isRequested,
  sendRequest,
  takeAnswer,
  type VerifiedContent,
  withdrawRequest,
} from './rebase-request.ts';
import { replaceServer, requireStart, requireSupervisor } from './upgrade.ts';

export interface Rebased {
  readonly mountpoint: string;
  readonly from: string;
  readonly to: string;
  /** Files that stay in the upper layer: they are open, or not in the image as they are. */
  readonly kept: number;
}

const READ = openHow(constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;
const NUL = Uint8Array.of(0);

/**
 * Puts an image in the place of the one that the mount has. Users of the mount wait for a moment.
 * @param image the path as it was given
 * @throws CfsError: `usage` if the mount cannot be rebased, `image`, `mount` with the reason if the mount is as before
 */
export async function rebase(mount: string, image: string): Promise<Rebased> {
  const { mount: old, sources } = askMountAt(mount);
  const refused = (why: string): CfsError => new CfsError('usage', `Cannot rebase ${mount}: ${why}`);
  const [upper, work] = ['upperdir', 'workdir'].map((kind) => sources.find((source) => source.kind === kind));
  if (upper === undefined) throw refused('it has no upper layer');
  if (work === undefined) throw refused('it is mounted read-only');
  const root = mountpointOf(mount);
  if (root === undefined) throw refused('its mount point is not seen here');
  requireSupervisor(mount, old, 'rebase');
  const directories: number[] = [];
  const path = realpathOf(image);
  const fd = openImage(path);
  try {
    const { id, tables } = readOpenImage(fd, image);
    const inMount = openSync(Buffer.from(root), DIRECTORY);
    directories.push(inMount);
    const upperFd = openSource(mount, upper);
    directories.push(upperFd);
    const base = openSource(mount, work);
    directories.push(base);
    const cfs = openPrivate(base);
    directories.push(cfs);
    requireStart(mount, openImage(path), id, 'rebase');
    const contents = compareContents(inMount, upperFd, tables);
    if (isRequested(cfs)) throw refused('another process is about to do so');
    const fault = process.env['CFS_FAIL_REBASE_AT'];
    const by = identityOf(process.pid);
    sendRequest(cfs, { by, image: path, given: image, id, contents, ...(fault === undefined ? {} : { fault }) });
    const now = await replaceServer(mount, old, 'rebase').finally(() => withdrawRequest(cfs));
    const answer = takeAnswer(cfs);
    if (answer?.error !== undefined) {
      throw new CfsError('mount', `Cannot rebase ${mount} on ${image}: ${answer.error}`, { hint: answer.hint });
    }
    if (answer === undefined && (now.imageId !== id || old.imageId === id)) {
      throw new CfsError(
        'mount',
        `Cannot rebase ${mount} on ${image}: its server was killed, or had no room for its answer`,
        {
          hint: 'The log of the mount has more. Try it again.',
        },
      );
    }
    return { mountpoint: pathText(old.mountpoint), from: old.imageId, to: id, kept: answer?.kept ?? 0 };
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw new CfsError('mount', `Cannot rebase ${mount} on ${image}: ${reasonOf(error)}`, {
      cause: error,
      hint: hintFor(error),
    });
  } finally {
    for (const one of directories) closeSync(one);
    closeSync(fd);
  }
}

/** The server opens it by this path. */
function realpathOf(image: string): string {
  try {
    return realpathSync(image);
  } catch {
    // opening it reports the reason
    return resolve(image);
  }
}

/** Opens a directory of the upper layer by its current path. */
function openSource(mount: string, { kind, path, device, ino }: SourceRecord): number {
  if (path === undefined) throw new CfsError('mount', `Cannot rebase ${mount}: its ${kind} has no path`);
  const fd = openSync(Buffer.from(path), DIRECTORY);
  const stat = statSync(`/proc/self/fd/${fd}`, { bigint: true });
  if (stat.ino === ino && stat.dev === makeDevice(device)) return fd;
  closeSync(fd);
  throw new CfsError('mount', `Cannot rebase ${mount}: its ${kind} is not at ${pathText(path)} here`);
}

/**
 * Compares the contents of the upper layer with those of the new image at the same paths, by reading them: the server
 * is not to do it while the users of the mount wait.
 * @returns those that are the same
 */
function compareContents(root: number, upper: number, tables: ManifestTables): VerifiedContent[] {
  // what is written through the page cache
  syncfs(root);
  const changes = changesOf(root);
  if (isErrno(changes)) return [];
  const same: VerifiedContent[] = [];
  for (const record of changes.records) {
    const hasContent = record.kind !== 'removed' && record.lower === 0 && (record.mode & S_IFMT) === S_IFREG;
    const content = hasContent && record.size > 0 ? sameContent(upper, tables, record) : undefined;
    if (content !== undefined) same.push(content);
  }
  return same;
}

/** Undefined if it is another one, or may be. */
function sameContent(upper: number, tables: ManifestTables, { path, upper: inode }: ChangeRecord) {
  const row = lookupPath(tables, path);
  if (row < 0 || ((tables.inodes.mode[row] as number) & S_IFMT) !== S_IFREG) return undefined;
  const fd = openBeneath(upper, Buffer.concat([path.subarray(1), NUL]), READ);
  if (isErrno(fd)) return undefined;
  try {
    const before = statFd(fd);
    if (isErrno(before) || inodeOf(before) !== inode) return undefined;
    const { size, ctime, ctimeNsec } = before;
    if (size !== u64(tables.inodes.size, row) || !isCtimeSettled(ctime * 1000 + ctimeNsec / 1e6, Date.now())) {
      return undefined;
    }
    if (!hasContentOf(fd, size, tables, row)) return undefined;
    const after = statFd(fd);
    if (isErrno(after) || after.size !== size || after.ctime !== ctime || after.ctimeNsec !== ctimeNsec)
      return undefined;
    return [inode, size, ctime, ctimeNsec] as const;
  } catch {
    return undefined; // it cannot be read
  } finally {
    closeFd(fd);
  }
}

function hasContentOf(fd: number, size: number, tables: ManifestTables, row: number): boolean {
  const { hash } = tables.header;
  const hasher = new ContentHasher(hash);
  if (readContent(fd, size, hasher) !== size) return false;
  const inline = inlineOf(tables, row);
  const { digest } =
    inline === undefined ? { digest: objectDigest(tables, objectOf(tables, row)) } : digestContent(hash, inline);
  return equalBytes(hasher.finish().digest, digest);
}
