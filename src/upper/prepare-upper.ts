/**
 * The directories of an upper layer before a mount: checked, locked, cleaned up and tried. docs/writable.md,
 * "Directories of the upper layer", has the rules. Nothing is changed unless both directories are this mount's alone.
 */
import { constants } from 'node:fs';
import { EAGAIN, EBUSY, type Errno, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { pathBytes } from '../base/path-text.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { flock, LOCK_EX, LOCK_NB, LOCK_SH } from '../system/flock.ts';
import { AT_FDCWD, errnoText, O_PATH } from '../system/libc.ts';
import { listMounts } from '../system/mount-table.ts';
import { markAsUpper, type OverlayUse, overlayElsewhere, overlayHere, type Place, placeOf } from './in-use.ts';
import { isTemporaryName } from './overlay-names.ts';
import { failed, type NamedDirectory, refusal, refusalText } from './refusal.ts';
import { checkDirectory, checkRelation, isInside, openDirectory } from './upper-place.ts';
import { type ProbeResult, probeUpper, type UpperFeatures } from './upper-probe.ts';
import { keepUuid } from './upper-uuid.ts';
import {
  checkIncompatible,
  closeToOthers,
  directoryIn,
  emptyWork,
  type LockedBy,
  lockFile,
  markVolatile,
  privateDirectoryIn,
  unmarkVolatile,
} from './work-directory.ts';

/** The parts of an upper layer; a part of the options of the mount. */
export interface UpperSettings {
  /** Absolute paths. */
  readonly upperdir: string;
  readonly workdir: string;
  readonly userxattr: boolean;
  readonly volatile: boolean;
  readonly readOnly: boolean;
  /** Whether hard links of the image stay links, by W/index. */
  readonly index: boolean;
  /** As `UpperOptions`. */
  readonly uuid: 'on' | 'off' | 'auto';
  /** The mount point: absolute, without symbolic links. */
  readonly mountpoint: string;
}

/** Descriptors that outlive a server: the next one gets them, and no other. -1: there is none. */
export interface KeptUpper {
  /** upperdir, with a lock. */
  readonly upper: number;
  /** workdir; -1 in a read-only mount if it is missing. */
  readonly base: number;
  /** W/cfs/lock, locked. */
  readonly lock: number;
  /** The mark of `markAsUpper`. */
  readonly mark: number;
}

/** An upper layer that is this mount's. All descriptors but `lock` and `mark` are open directories. */
export interface PreparedUpper extends KeptUpper {
  /**
   * W/work, W/index, W/cfs/orphans and W/cfs/claims. A read-only mount has the index at most, if it is there; without
   * `index` there is none.
   */
  readonly work: number;
  readonly index: number;
  readonly orphans: number;
  readonly claims: number;
  readonly features: UpperFeatures;
  /** Sentences for the log. */
  readonly warnings: readonly string[];
}

const [INDEX, CFS, ORPHANS, CLAIMS, MARK] = ['index', 'cfs', 'orphans', 'claims', 'mark'].map((name) =>
  Buffer.from(name),
) as [Buffer, Buffer, Buffer, Buffer, Buffer];

/** Descriptors that are closed together if something fails. */
class Opened {
  readonly #fds: number[] = [];

  add(fd: number): number {
    this.#fds.push(fd);
    return fd;
  }

  close(): void {
    for (const fd of this.#fds.reverse()) closeFd(fd);
  }
}

/**
 * Opens and prepares the directories of an upper layer.
 * @throws CfsError (mount) with the reason why they cannot be used, UpperInUse for one; nothing is left open then
 */
export function prepareUpper(settings: UpperSettings): PreparedUpper {
  const opened = new Opened();
  try {
    return settings.readOnly ? prepareReadOnly(settings, opened) : prepareWritable(settings, opened);
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** Closes all descriptors, which releases the locks. */
export function closeUpper({ upper, base, lock, mark, work, index, orphans, claims }: PreparedUpper): void {
  for (const fd of [claims, orphans, index, work, mark, lock, base, upper]) if (fd >= 0) closeFd(fd);
}

/**
 * To be called at the end of a volatile mount, before `closeUpper`: writes everything to the disk, so that the layer
 * can be mounted again. After an error the next mount is refused.
 */
export const endVolatile = ({ upper, work }: PreparedUpper): 0 | Errno => unmarkVolatile(upper, work);

/**
 * The directories of a mount whose server has died, for the next one. Nothing is emptied or tried.
 * @throws CfsError (mount)
 */
export function reopenUpper(kept: KeptUpper, features: UpperFeatures, hasIndex: boolean): PreparedUpper {
  const none = { ...kept, work: -1, index: -1, orphans: -1, claims: -1, features, warnings: [] };
  // a read-only mount has no lock
  if (kept.lock < 0) return { ...none, index: hasIndex ? indexForReader(kept.base) : -1 };
  const named: NamedDirectory = { option: 'workdir', path: 'the work directory' };
  const opened = new Opened();
  try {
    const cfs = opened.add(directoryIn(named, kept.base, CFS, 0o700));
    const work = opened.add(directoryIn(named, kept.base, Buffer.from('work'), 0o700));
    const index = hasIndex ? opened.add(directoryIn(named, kept.base, INDEX, 0o700)) : -1;
    const orphans = opened.add(directoryIn(named, cfs, ORPHANS, 0o700));
    const claims = directoryIn(named, cfs, CLAIMS, 0o700);
    closeFd(cfs);
    return { ...none, work, index, orphans, claims };
  } catch (error) {
    opened.close();
    throw error;
  }
}

function prepareReadOnly(settings: UpperSettings, opened: Opened): PreparedUpper {
  const named: NamedDirectory = { option: 'upperdir', path: settings.upperdir };
  const upper = opened.add(openDirectory(named));
  const mounts = listMounts();
  checkDirectory(named, upper, mounts);
  checkMountpoint(settings.mountpoint, named, upper);
  const base = openForReader({ option: 'workdir', path: settings.workdir });
  if (base >= 0) opened.add(base);
  refuseUse(overlayHere(mounts, [placed(named, upper)]), [named]);
  lockUpper(named, upper, LOCK_SH);
  const features = { nameless: false, types: true, handles: false };
  const index = settings.index ? indexForReader(base) : -1;
  return { upper, base, lock: -1, mark: -1, work: -1, index, orphans: -1, claims: -1, features, warnings: [] };
}

/** A read-only mount needs no workdir, but must not show what a crash has damaged. @returns -1 if it is missing */
function openForReader(named: NamedDirectory): number {
  const base = openAt(AT_FDCWD, pathBytes(named.path), constants.O_RDONLY | constants.O_DIRECTORY);
  if (isErrno(base)) return -1;
  try {
    checkIncompatible(named, base);
    return base;
  } catch (error) {
    closeFd(base);
    throw error;
  }
}

/** @returns -1 if there is none */
function indexForReader(base: number): number {
  if (base < 0) return -1;
  const index = openAt(base, INDEX, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  return isErrno(index) ? -1 : index;
}

function prepareWritable(settings: UpperSettings, opened: Opened): PreparedUpper {
  const { mountpoint, userxattr } = settings;
  const [ofUpper, ofWork] = [
    { option: 'upperdir', path: settings.upperdir },
    { option: 'workdir', path: settings.workdir },
  ] as const satisfies NamedDirectory[];
  const upper = opened.add(openDirectory(ofUpper));
  const base = opened.add(openDirectory(ofWork));
  checkRelation(ofUpper, upper, ofWork, base);
  const mounts = listMounts();
  checkDirectory(ofUpper, upper, mounts);
  checkDirectory(ofWork, base, mounts);
  checkMountpoint(mountpoint, ofUpper, upper);
  checkMountpoint(mountpoint, ofWork, base);
  const places = [placed(ofUpper, upper), placed(ofWork, base)];
  refuseUse(overlayHere(mounts, places), [ofUpper, ofWork]);

  const cfs = opened.add(privateDirectoryIn(ofWork, base, CFS));
  const locked = lockFile(ofWork, cfs, pathBytes(mountpoint));
  if ('by' in locked) throw new UpperInUse(ofWork, locked);
  const lock = opened.add(locked.fd);
  lockUpper(ofUpper, upper, LOCK_EX);
  const mark = takeMark(ofUpper, upper, ofWork, cfs, userxattr, places);
  if (mark >= 0) opened.add(mark);

  // after the lock: before, another mount may be at its end
  checkIncompatible(ofWork, base);
  const work = opened.add(emptyWork(ofWork, base));
  const { features, warnings: found }: ProbeResult = probeUpper(ofUpper, { upper, work }, userxattr);
  const index = settings.index ? opened.add(directoryIn(ofWork, base, INDEX, 0o700)) : -1;
  if (index < 0) refuseIndex(ofWork, base);
  const orphans = opened.add(privateDirectoryIn(ofWork, cfs, ORPHANS));
  const claims = opened.add(privateDirectoryIn(ofWork, cfs, CLAIMS));
  if (settings.volatile) markVolatile(ofWork, work);
  closeToOthers(work);
  if (index >= 0) closeToOthers(index);
  closeFd(cfs);
  const kept = settings.uuid === 'on' ? keepUuid(upper, userxattr) : 0;
  const warnings = isErrno(kept) ? [...found, `it cannot get a uuid: ${errnoText(kept)}`] : found;
  return { upper, base, lock, mark, work, index, orphans, claims, features, warnings };
}

/**
 * Without an index, each name of a file of the image is a file of its own. Changes that were made with one would be
 * seen at some of the names only, and an unlinked file that is open would be lost.
 */
function refuseIndex(named: NamedDirectory, base: number): void {
  const index = indexForReader(base);
  if (index < 0) return;
  let hasEntry = false;
  const listed = readDirectory(index, (name) => {
    hasEntry ||= !isTemporaryName(name);
  });
  closeFd(index);
  if (!isErrno(listed) && !hasEntry) return;
  throw refusal(
    named,
    'it has an index of hard links, and without one the links that were changed would be broken',
    'Mount with an index, as the mount did that made the changes.',
  );
}

function placed(named: NamedDirectory, fd: number): Place {
  const place = placeOf(fd);
  if (isErrno(place)) throw failed(named, 'cannot examine it', place);
  return place;
}

/** A mount inside of its own layer would hide a part of it, and wait for itself. */
function checkMountpoint(mountpoint: string, named: NamedDirectory, fd: number): void {
  const at = openAt(AT_FDCWD, pathBytes(mountpoint), O_PATH | constants.O_DIRECTORY);
  // the mount itself reports that
  if (isErrno(at)) return;
  const inside = isInside(at, placed(named, fd));
  closeFd(at);
  if (inside === true) {
    throw refusal(named, `the mount point ${mountpoint} is inside of it`, 'Mount somewhere else.');
  }
}

/** Another mount of cfs has the layer: it may be about to end. */
export class UpperInUse extends CfsError {
  /** Undefined if only the upperdir is locked. */
  readonly user: LockedBy | undefined;
  readonly #named: NamedDirectory;

  constructor(named: NamedDirectory, user?: LockedBy, where = '') {
    const at = user === undefined || user.by === '' ? '' : `, at ${user.by}`;
    super('mount', refusalText(named, `another mount of cfs uses it${at}${where}`), {
      hint: 'Each mount needs directories of its own. `listMounts` shows the mounts.',
    });
    this.user = user;
    this.#named = named;
  }

  /** The same with the place of the other mount: ` in the mount namespace of process 1`. */
  at(where: string): UpperInUse {
    return new UpperInUse(this.#named, this.user, where);
  }
}

function lockUpper(named: NamedDirectory, upper: number, mode: typeof LOCK_EX | typeof LOCK_SH): void {
  const result = flock(upper, mode | LOCK_NB);
  if (result === EAGAIN) throw new UpperInUse(named);
  if (isErrno(result)) throw refusal(named, `cannot lock it: ${errnoText(result)}`);
}

function refuseUse(use: OverlayUse | undefined, named: readonly NamedDirectory[]): void {
  if (use === undefined) return;
  const { mountpoint, option, directory, pid } = use;
  const where = pid === undefined ? '' : ` in the mount namespace of process ${pid}`;
  const unmount = pid === undefined ? `'umount ${mountpoint}' unmounts it.` : 'Unmount it there.';
  throw refusal(
    named[directory] as NamedDirectory,
    `it is the ${option} of an overlayfs on ${mountpoint}${where}`,
    unmount,
  );
}

/** @returns -1 if the directory cannot be marked */
function takeMark(
  ofUpper: NamedDirectory,
  upper: number,
  ofWork: NamedDirectory,
  cfs: number,
  userxattr: boolean,
  places: readonly Place[],
): number {
  const own = privateDirectoryIn(ofWork, cfs, MARK);
  const mark = markAsUpper(upper, own, userxattr);
  closeFd(own);
  if (mark !== undefined && mark !== EBUSY) return mark;
  refuseUse(overlayElsewhere(places), [ofUpper, ofWork]);
  if (mark === undefined) return -1;
  throw refusal(
    ofUpper,
    'it is the upperdir or workdir of an overlayfs in another mount namespace',
    'Unmount it there, or end the container that has it.',
  );
}
