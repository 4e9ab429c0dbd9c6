/**
 * Tries what an upper layer needs of its file system, in its work directory, as overlayfs does (ovl_make_workdir,
 * fs/overlayfs/super.c). After a crash, leftovers are in the work directory, which each mount empties; or there is a
 * whiteout in upperdir, which is invisible in a mount.
 */
import { constants } from 'node:fs';
import { EINVAL, ENOSYS, EOPNOTSUPP, EPERM, type Errno, EXDEV, isErrno, isFull } from '../base/errno.ts';
import { S_IFCHR, S_IFMT } from '../base/stat-bits.ts';
import { closeFd, ioctl, openAt, openNameless } from '../system/descriptors.ts';
import {
  linkAt,
  makeNodeAt,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  renameAt,
  setTimesAt,
  unlinkAt,
} from '../system/directory-calls.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { nameToHandle } from '../system/file-handle.ts';
import { emptyFileStatus, statusAt, statusOf } from '../system/file-status.ts';
import { errnoText } from '../system/libc.ts';
import { removeXattrOfFd, setXattrOfFd } from '../system/xattrs.ts';
import { failed, type NamedDirectory, refusal } from './refusal.ts';
import { fileSystemName } from './upper-place.ts';

/** Features that not every file system has, and that an upper layer can do without. */
export interface UpperFeatures {
  /** O_TMPFILE */
  readonly nameless: boolean;
  /** Listings have the types of files. */
  readonly types: boolean;
  /** name_to_handle_at(2) */
  readonly handles: boolean;
}

/** The open directories of an upper layer. */
export interface ProbedDirectories {
  readonly upper: number;
  /** WORKDIR/work, which is empty. */
  readonly work: number;
}

export interface ProbeResult {
  readonly features: UpperFeatures;
  /** Sentences about missing features. */
  readonly warnings: readonly string[];
}

const ANOTHER = 'Choose a directory on another file system, such as ext4, xfs, btrfs or tmpfs.';
const DT_UNKNOWN = 0;
const EMPTY: Uint8Array = Uint8Array.of();
const [FILE, OTHER, WHITEOUT] = ['#cfs-file', '#cfs-other', '#cfs-whiteout'].map((name) => Buffer.from(name)) as [
  Buffer,
  Buffer,
  Buffer,
];

/**
 * Thrown if the file system is full: the missing features cannot be determined, and deleting files must be possible.
 */
class Full extends Error {}

/**
 * Tries the file system of the upper layer.
 * @param userxattr whether its xattrs begin with `user.`
 * @throws CfsError (mount) if something is missing that it cannot be without
 */
export function probeUpper(named: NamedDirectory, { upper, work }: ProbedDirectories, userxattr: boolean): ProbeResult {
  const warnings: string[] = [];
  const features = { nameless: true, types: true, handles: !isErrno(nameToHandle(`/proc/self/fd/${work}/.`)) };
  const steps = [
    () => probeXattrs(named, work, userxattr),
    () => probeWhiteouts(named, upper, work),
    () => probeRenames(named, work),
    () => {
      features.types = hasTypes(work);
    },
    () => {
      features.nameless = hasNameless(work);
    },
  ];
  let isFullThere = false;
  try {
    for (const step of steps) isFullThere = isTooFullFor(step) || isFullThere;
  } finally {
    for (const name of [FILE, OTHER, WHITEOUT]) unlinkAt(work, name);
  }
  if (isFullThere) {
    warnings.push(`The file system of ${named.path} is full: not all that an upper layer needs could be tried.`);
  }
  const lacks = (what: string, effect: string): string =>
    `${fileSystemName(upper)} of ${named.path} has no ${what}: ${effect}.`;
  if (!features.nameless) warnings.push(lacks('files without a name', 'O_TMPFILE fails in the mount'));
  if (!features.types) warnings.push(lacks('types in listings', 'listing directories takes longer'));
  return { features, warnings };
}

function isTooFullFor(step: () => void): boolean {
  try {
    step();
    return false;
  } catch (error) {
    if (error instanceof Full) return true;
    throw error;
  }
}

/** Fails for any errno but 0: "its file system ext4 has no whiteouts". */
function require(named: NamedDirectory, upper: number, what: string, result: number): void {
  if (!isErrno(result)) return;
  if (isFull(result)) throw new Full();
  const missing = result === EOPNOTSUPP || result === EINVAL || result === ENOSYS || result === EPERM;
  if (!missing) throw failed(named, `cannot try ${what} in it`, result);
  throw refusal(named, `its file system, ${fileSystemName(upper)}, has no ${what} (${errnoText(result)})`, ANOTHER);
}

function probeXattrs(named: NamedDirectory, work: number, userxattr: boolean): void {
  const name = `${userxattr ? 'user' : 'trusted'}.overlay.opaque`;
  const result = setXattrOfFd(work, name, Buffer.from('0'));
  if (!isErrno(result)) {
    removeXattrOfFd(work, name);
    return;
  }
  if (result === EPERM && !userxattr) {
    throw refusal(
      named,
      'this process may not set trusted.* extended attributes',
      'Only root outside of user namespaces may. `userxattr` uses user.* attributes instead.',
    );
  }
  require(named, work, `${userxattr ? 'user' : 'trusted'}.* extended attributes`, result);
}

const notRenamed = (named: NamedDirectory): Error =>
  refusal(
    named,
    'files cannot be renamed between it and workdir',
    'They must be on one mount of one file system, and in the same quota project (chattr -p).',
  );

const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_XFLAG_PROJINHERIT = 0x200;

/** The quota project of new files in a directory. Kernels differ in whether whiteouts may leave it; files may not. */
function projectOf(fd: number): number {
  // struct fsxattr: flags, and the project as the fourth word
  const value = Buffer.alloc(28);
  if (isErrno(ioctl(fd, FS_IOC_FSGETXATTR, value))) return 0;
  return (value.readUInt32LE(0) & FS_XFLAG_PROJINHERIT) === 0 ? 0 : value.readUInt32LE(12);
}

/** A whiteout is a character device 0:0. It goes to upperdir and back. */
function probeWhiteouts(named: NamedDirectory, upper: number, work: number): void {
  if (projectOf(upper) !== projectOf(work)) throw notRenamed(named);
  require(named, work, 'whiteouts', makeNodeAt(work, WHITEOUT, S_IFCHR, 0));
  if (!isWhiteout(work, WHITEOUT)) throw refusal(named, 'whiteouts in it do not stay character devices 0:0', ANOTHER);
  const name = Buffer.from(`#cfs-probe-${process.pid}-${Date.now().toString(36)}`);
  const before = emptyFileStatus();
  const looked = statusOf(upper, before);
  const there = renameAt(work, WHITEOUT, upper, name, RENAME_NOREPLACE);
  if (there === EXDEV) throw notRenamed(named);
  require(named, work, 'rename(2) with RENAME_NOREPLACE', there);
  const back = renameAt(upper, name, work, WHITEOUT, RENAME_NOREPLACE);
  // a mount alone changes no time that a user sees
  if (looked === 0)
    setTimesAt(upper, EMPTY, undefined, { low: before.mtimeLow, high: before.mtimeHigh, nsec: before.mtimeNsec });
  if (!isErrno(back)) return;
  unlinkAt(upper, name);
  throw failed(named, 'cannot rename a file from it to workdir', back);
}

function probeRenames(named: NamedDirectory, work: number): void {
  const file = openAt(
    work,
    FILE,
    constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
  require(named, work, 'regular files', file);
  closeFd(file);
  require(named, work, 'RENAME_WHITEOUT', renameAt(work, FILE, work, OTHER, RENAME_WHITEOUT));
  if (!isWhiteout(work, FILE)) throw refusal(named, 'RENAME_WHITEOUT leaves no whiteout in it', ANOTHER);
  require(named, work, 'RENAME_EXCHANGE', renameAt(work, FILE, work, OTHER, RENAME_EXCHANGE));
  if (!isWhiteout(work, OTHER)) throw refusal(named, 'RENAME_EXCHANGE does not exchange files in it', ANOTHER);
  unlinkAt(work, WHITEOUT);
  require(named, work, 'hard links', linkAt(work, FILE, work, WHITEOUT));
}

const status = emptyFileStatus();

const isWhiteout = (dir: number, name: Uint8Array): boolean =>
  statusAt(dir, name, status) === 0 && (status.mode & S_IFMT) === S_IFCHR && status.rdev === 0;

function hasTypes(work: number): boolean {
  let known = true;
  readDirectory(work, (_name, type) => {
    if (type === DT_UNKNOWN) known = false;
  });
  return known;
}

function hasNameless(work: number): boolean {
  const fd: number | Errno = openNameless(work, 0o600);
  if (isErrno(fd)) {
    if (isFull(fd)) throw new Full();
    return false;
  }
  closeFd(fd);
  return true;
}
