/**
 * What a rebase does to the upper directory U: names that the new image has are removed, and what is left is made to
 * belong to that image. The steps are a file in W/cfs, so that they are done whoever is killed; each may be done again.
 *
 * `rebase.new` in W/cfs is a plan that was not decided on: the layer belongs to the image of before. It becomes
 * `rebase` when it is. First all that makes the rest right over the new image is done, then names are removed: so
 * whatever was removed is seen in the new image.
 */
import { constants } from 'node:fs';
import { EEXIST, ENOENT, ENOTDIR, ENOTEMPTY, type Errno, isFull } from '../base/errno.ts';
import { S_IFCHR } from '../base/stat-bits.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { makeNodeAt, removeDirectoryAt, renameAt, setTimesAt, unlinkAt } from '../system/directory-calls.ts';
import { O_PATH } from '../system/libc.ts';
import { syncfs } from '../system/reading-writing.ts';
import { removeXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import { readPrivate, renamePrivate, required, writePrivate } from './private-files.ts';

/** Bytes as JSON can express them: in base64. */
export type Text = string;

export const textOf = (bytes: Uint8Array): Text => Buffer.from(bytes).toString('base64');
const bytesOf = (text: Text): Uint8Array => Buffer.from(text, 'base64');

/** Xattrs of a file that stays: names to remove, and names and values to set. */
export interface PlannedXattrs {
  readonly name: Text;
  readonly remove: readonly Text[];
  readonly set: readonly (readonly [name: Text, value: Text])[];
}

/** An entry of the index. */
export interface PlannedEntry extends PlannedXattrs {
  /** The name that it gets, perhaps the same; empty if it is removed. */
  readonly newName: Text;
}

/** A directory of U in which there is something to do; paths would be too long. */
export interface PlannedDirectory {
  /** Empty for U itself. */
  readonly name: Text;
  /** Names of the new image that are hidden. */
  readonly whiteouts: readonly Text[];
  /** Of the directory, with an empty name, and of files in it. */
  readonly xattrs: readonly PlannedXattrs[];
  /** Names of files and whiteouts that are removed. */
  readonly remove: readonly Text[];
  readonly directories: readonly PlannedDirectory[];
  /** The directory is removed, and must be empty then. */
  readonly isRemoved: boolean;
  /** Its mtime in the end: seconds in two words, nanoseconds. */
  readonly mtime: readonly [low: number, high: number, nsec: number];
}

export interface RebasePlan {
  readonly version: 1;
  /** Differs from that of any other plan. */
  readonly name: string;
  /** The id of the image that the layer belongs to when the plan is done. */
  readonly image: string;
  /** The path of the image, for messages. */
  readonly path: string;
  /** The root of U. */
  readonly root: PlannedDirectory;
  /** In W/index. */
  readonly index: readonly PlannedEntry[];
}

const NEW = 'rebase.new';
const DECIDED = 'rebase';
const EMPTY: Uint8Array = Uint8Array.of();

/**
 * Tries whether there is room for the whiteouts of a plan that removes nothing, and so makes none. Throws a
 * `systemError`.
 * @param work open directory for temporary files
 */
export function requireRoom(work: number, root: PlannedDirectory): void {
  if (removals(root) > 0) return;
  const count = whiteoutsIn(root);
  let made = 0;
  try {
    for (; made < count; made++) required(makeNodeAt(work, trialName(made), S_IFCHR, 0), 'make', 'a whiteout');
  } finally {
    while (made > 0) unlinkAt(work, trialName(--made));
  }
}

const trialName = (number: number): Uint8Array => Buffer.from(`#cfs-room-${number}`);

const removals = ({ remove, directories, isRemoved }: PlannedDirectory): number =>
  directories.reduce((sum, below) => sum + removals(below), remove.length + (isRemoved ? 1 : 0));

const whiteoutsIn = ({ whiteouts, directories }: PlannedDirectory): number =>
  directories.reduce((sum, below) => sum + whiteoutsIn(below), whiteouts.length);

/** @param cfs W/cfs, an open directory. Throws a `systemError`. */
export const writePlan = (cfs: number, plan: RebasePlan): void => writePrivate(cfs, NEW, plan);

/** Removes a plan that is not decided on. */
export const dropPlan = (cfs: number): void => {
  unlinkAt(cfs, Buffer.from(NEW));
};

/** From now on the layer belongs to the image of the plan. */
export const decidePlan = (cfs: number): void => renamePrivate(cfs, NEW, DECIDED);

/**
 * The plan that is decided on and not done yet; undefined for none. Throws if it cannot be read.
 * @param isNew the one that is not decided on
 */
export function readPlan(cfs: number, isNew = false): RebasePlan | undefined {
  const plan = readPrivate(cfs, isNew ? NEW : DECIDED) as RebasePlan | undefined;
  if (plan === undefined || plan.version === 1) return plan;
  throw new Error('a later version of cfs has made the plan of a rebase');
}

/** The open directories that a plan is carried out in. */
export interface PlanDirectories {
  readonly upper: number;
  /** -1 for none. */
  readonly index: number;
  readonly cfs: number;
}

/**
 * Carries out a plan that is decided on, and removes it. Throws a `systemError`; then it can be done again.
 * @param isDurable whether all is on the disk before the plan is removed
 */
export function carryOutPlan({ upper, index, cfs }: PlanDirectories, plan: RebasePlan, isDurable: boolean): void {
  const isWhole = makeWhiteouts(upper, plan.root, true);
  prepare(upper, plan.root);
  if (index >= 0) for (const entry of plan.index) moveEntry(index, entry);
  clear(upper, plan.root);
  if (index >= 0) for (const entry of plan.index) removeEntry(index, entry);
  if (!isWhole) {
    // there is more room now
    makeWhiteouts(upper, plan.root, false);
    clear(upper, plan.root);
  }
  if (isDurable) required(syncfs(upper), 'write', 'the upper directory');
  unlinkAt(cfs, Buffer.from(DECIDED));
}

/** @returns false if there was no room for one, and `mayLack` is set */
function makeWhiteouts(dir: number, { whiteouts, directories }: PlannedDirectory, mayLack: boolean): boolean {
  let isWhole = true;
  for (const name of whiteouts) {
    const made = makeNodeAt(dir, bytesOf(name), S_IFCHR, 0);
    if (mayLack && isFull(made)) isWhole = false;
    else if (made !== EEXIST) required(made, 'make', 'a whiteout');
  }
  for (const below of directories) {
    within(dir, below, (fd) => {
      if (!makeWhiteouts(fd, below, mayLack)) isWhole = false;
    });
  }
  return isWhole;
}

function moveEntry(index: number, entry: PlannedEntry): void {
  if (entry.newName === '') return;
  setXattrs(index, entry);
  if (entry.newName === entry.name) return;
  mayBeGone(renameAt(index, bytesOf(entry.name), index, bytesOf(entry.newName), 0), 'an entry of the index');
}

function removeEntry(index: number, { name, newName }: PlannedEntry): void {
  if (newName === '') mayBeGone(unlinkAt(index, bytesOf(name)), 'an entry of the index');
}

function setXattrs(dir: number, { name, remove, set }: PlannedXattrs): void {
  const at = bytesOf(name);
  for (const xattr of remove) removeXattrAt(dir, at, bytesOf(xattr));
  // they only say which inode it was: where there is no room or no such xattr, it gets another number
  for (const [xattr, value] of set) setXattrAt(dir, at, bytesOf(xattr), bytesOf(value), 0);
}

function prepare(dir: number, { xattrs, directories }: PlannedDirectory): void {
  for (const one of xattrs) setXattrs(dir, one);
  for (const below of directories) within(dir, below, (fd) => prepare(fd, below));
}

function clear(dir: number, { remove, directories, isRemoved, mtime }: PlannedDirectory): void {
  for (const name of remove) mayBeGone(unlinkAt(dir, bytesOf(name)), 'a name');
  for (const below of directories) {
    within(dir, below, (fd) => clear(fd, below));
    if (below.isRemoved) {
      const removed = removeDirectoryAt(dir, bytesOf(below.name));
      // somebody has put something there: it stays, and is seen
      if (removed !== ENOTEMPTY && removed !== EEXIST) mayBeGone(removed, 'a directory');
    }
  }
  if (isRemoved) return;
  const [low, high, nsec] = mtime;
  required(setTimesAt(dir, EMPTY, undefined, { low, high, nsec }), 'set the times of', 'a directory');
}

function within(dir: number, { name, isRemoved }: PlannedDirectory, work: (fd: number) => void): void {
  const fd = openAt(dir, bytesOf(name), O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  // it was removed before
  if ((fd === ENOENT || fd === ENOTDIR) && isRemoved) return;
  required(fd, 'open', 'a directory');
  try {
    work(fd);
  } finally {
    closeFd(fd);
  }
}

function mayBeGone(result: 0 | Errno, what: string): void {
  if (result !== ENOENT) required(result, 'change', what);
}
