/** Naming the unlinked files of a checkpoint: making them linkable, or giving them names right away. */
import { constants } from 'node:fs';
import { printable } from '../base/bytes.ts';
import { EEXIST, ENOTTY, EPERM, type Errno, ESTALE, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { formatHandle, fuseIdentity } from '../base/handle-format.ts';
import { S_IFDIR, S_IFMT } from '../base/stat-bits.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { openByHandle } from '../system/file-handle.ts';
import { inodeOf, statAt, statFd } from '../system/file-status.ts';
import { errnoText, O_PATH } from '../system/libc.ts';
import { linkFd, makeDirectoryAt, removeDirectoryAt, unlinkAt } from '../system/names.ts';
import { identityOf } from '../system/process-identity.ts';
import type { UsedFile } from './files-in-use.ts';
import { beginClaim, completeClaim, endClaim, makeLinkable, relinkOrphan } from './orphan-ioctls.ts';
import type { NameTemplate } from './unlinked-names.ts';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

const isDirectory = ({ unlinked }: UsedFile): boolean => ((unlinked?.mode ?? 0) & S_IFMT) === S_IFDIR;

/**
 * Makes the files without any name linkable, for CRIU. Directories cannot be.
 * @param root an open directory of the mount
 * @returns their number
 * @throws CfsError (system)
 */
export function makeAllLinkable(root: number, files: readonly UsedFile[]): number {
  let count = 0;
  for (const file of files) {
    if (file.unlinked?.nlink !== 0 || isDirectory(file)) continue;
    const identity = identityOfFile(file);
    const result = makeLinkable(root, { ...identity, isLinkable: true });
    if (isErrno(result) && result !== ESTALE) throw failed(file, result);
    // a process has closed it in the meantime
    if (!isErrno(result)) count++;
  }
  return count;
}

function identityOfFile({ handle }: UsedFile): { readonly ino: number; readonly generation: number } {
  const identity = fuseIdentity(handle);
  return { ino: identity?.id ?? 0, generation: identity?.generation ?? 0 };
}

function failed({ uses, unlinked }: UsedFile, errno: Errno): CfsError {
  const path = printable(unlinked?.path ?? new Uint8Array(0));
  const message = `Cannot name ${path}, which process ${uses[0]} uses: ${errnoText(errno)}`;
  return new CfsError('system', message, { hint: hintFor(errno) });
}

function hintFor(errno: Errno): string | undefined {
  if (errno === EPERM) return 'That takes CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH in the user namespace of the mount.';
  return errno === ENOTTY ? 'The mount must be a writable one, served by this release.' : undefined;
}

export interface Naming {
  /** Of the checkpoint. */
  readonly id: bigint;
  /** From the mount's root, by the text of the handle. */
  readonly names: ReadonlyMap<string, string>;
  /** To be called when the list is saved. @throws CfsError (system) */
  complete(): void;
  /** Removes the names again. */
  undo(): void;
}

/**
 * Gives each unlinked file a name.
 * @param root the root directory of the mount, open
 * @param directory of the list, absolute; the claim names it
 * @throws CfsError (system), with all names removed again
 */
export function relinkAll(root: number, files: readonly UsedFile[], template: NameTemplate, directory: string): Naming {
  const place = directoryOf(root, template.directory);
  const names = new Map<string, string>();
  const made: { readonly name: Uint8Array; readonly isDirectory: boolean }[] = [];
  const undo = (): void => {
    for (const { name, isDirectory: is } of made) (is ? removeDirectoryAt : unlinkAt)(place.fd, name);
    endClaim(root, id);
    closeFd(place.fd);
  };
  const id = begin(root, JSON.stringify({ directory, names: template.directory, process: identityOf(process.pid) }));
  let count = 0;
  try {
    for (const file of files) {
      if (file.unlinked === undefined) continue;
      for (;;) {
        const name = template.name(id, ++count);
        const result = relinkOne(root, file, place, id, Buffer.from(name));
        if (result === EEXIST) continue;
        if (result === ESTALE) break; // a process has closed it in the meantime
        if (isErrno(result)) throw failed(file, result);
        made.push({ name: Buffer.from(name), isDirectory: isDirectory(file) });
        names.set(formatHandle(file.handle), template.directory === '' ? name : `${template.directory}/${name}`);
        break;
      }
    }
    refreshListing(place.fd, made.some(({ isDirectory: is }) => is) ? template.name(id, 0) : undefined);
  } catch (error) {
    undo();
    throw error;
  }
  const complete = (): void => {
    const completed = completeClaim(root, id);
    if (isErrno(completed)) throw new CfsError('system', `Cannot keep the new names: ${errnoText(completed)}`);
    closeFd(place.fd);
  };
  return { id, names, complete, undo };
}

/** Begins a claim, whose id is the time in nanoseconds. */
function begin(root: number, text: string): bigint {
  for (let id = BigInt(Date.now()) * 1_000_000n + (process.hrtime.bigint() % 1_000_000n); ; id++) {
    const begun = beginClaim(root, id, text);
    if (begun === 0) return id;
    if (begun === EEXIST) continue;
    const message = `Cannot give names in the mount: ${errnoText(begun)}`;
    throw new CfsError('system', message, { hint: hintFor(begun) });
  }
}

interface NewDirectory {
  readonly fd: number;
  readonly ino: number;
}

/** Opens the directory for the names; what is missing is made, for root alone. */
function directoryOf(root: number, path: string): NewDirectory {
  let fd = openAt(root, Buffer.from('.'), DIRECTORY);
  for (const part of path === '' ? [] : path.split('/')) {
    if (isErrno(fd)) break;
    const above: number = fd;
    const made = makeDirectoryAt(above, Buffer.from(part), 0o700);
    fd = isErrno(made) && made !== EEXIST ? made : openAt(above, Buffer.from(part), DIRECTORY);
    closeFd(above);
  }
  const stat = isErrno(fd) ? fd : statFd(fd);
  if (isErrno(fd) || isErrno(stat)) {
    throw new CfsError('system', `Cannot make the directory ${path} in the mount: ${errnoText(stat as Errno)}`);
  }
  return { fd, ino: inodeOf(stat) };
}

/** ESTALE if the file is gone, EEXIST if the name is taken. */
function relinkOne(
  root: number,
  file: UsedFile,
  { fd: dir, ino: parent }: NewDirectory,
  claim: bigint,
  name: Uint8Array,
): 0 | Errno {
  const identity = identityOfFile(file);
  const request = { ...identity, claim, parent, name };
  if (isDirectory(file)) {
    const relinked = relinkOrphan(root, request);
    return isErrno(relinked) ? relinked : showDirectory(dir, name, identity.ino);
  }
  // through this mount: the process may have another one of the file system
  const fd = openByHandle(root, file.handle, O_PATH);
  if (isErrno(fd)) return fd;
  try {
    const linkable = makeLinkable(root, { ...request, isLinkable: true });
    if (isErrno(linkable)) return linkable;
    // the kernel asks for the number of links
    const stat = statFd(fd);
    const linked = isErrno(stat) ? stat : linkFd(fd, dir, name);
    if (isErrno(linked)) makeLinkable(root, identity);
    return linked;
  } finally {
    closeFd(fd);
  }
}

/** A name that the server gave: the kernel may remember that there is none, until mkdir(2) tells it otherwise. */
function showDirectory(dir: number, name: Uint8Array, ino: number): 0 | Errno {
  const made = makeDirectoryAt(dir, name, 0o700);
  const stat = made === EEXIST ? statAt(dir, name) : made;
  if (typeof stat === 'number') return stat === 0 ? ESTALE : stat;
  return inodeOf(stat) === ino ? 0 : ESTALE;
}

/** The kernel remembers listings, too: a directory that is made and removed makes it forget this one. */
function refreshListing(dir: number, name: string | undefined): void {
  if (name === undefined) return;
  makeDirectoryAt(dir, Buffer.from(name), 0o700);
  removeDirectoryAt(dir, Buffer.from(name));
}
