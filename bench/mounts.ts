/** The mounts of this namespace, and unmounting. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { EBUSY, EINVAL, EPERM, errnoName, isErrno } from '../src/base/errno.ts';
import { CfsError } from '../src/base/error.ts';
import { MNT_DETACH, MS_RDONLY, mount, UMOUNT_NOFOLLOW, umount2 } from '../src/system/mount-calls.ts';

export interface Mount {
  readonly path: string;
  /** ext4, overlay, fuse … */
  readonly type: string;
}

/** All mounts of this namespace, in the order of proc_pid_mountinfo(5). */
export function mounts(): Mount[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const fields = line.split(' ');
    const octal = /\\([0-7]{3})/g;
    const path = (fields[4] as string).replace(octal, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
    return { path, type: fields[fields.indexOf('-') + 1] as string };
  });
}

export const isBelow = (path: string, directory: string): boolean =>
  path.startsWith(directory === '/' ? '/' : `${directory}/`);

/** The mount that contains `path` (absolute, without symbolic links). */
export function mountOf(path: string): Mount | undefined {
  const over = mounts().filter((mount) => mount.path === path || isBelow(path, mount.path));
  return over.reduce<Mount | undefined>(
    (best, mount) => (best !== undefined && best.path.length > mount.path.length ? best : mount),
    undefined,
  );
}

/** The reason why this kernel cannot mount file systems of `type`; undefined if it can. Loads its module. */
export function fileSystemUnavailable(type: string): string | undefined {
  if (process.geteuid?.() !== 0) return `only root mounts ${type}`;
  const known = (): boolean => new RegExp(`^(nodev)?\\t${type}$`, 'm').test(readFileSync('/proc/filesystems', 'utf8'));
  if (known()) return undefined;
  spawnSync('modprobe', ['--quiet', type]);
  return known() ? undefined : `this kernel has no ${type} (no "${type}" in /proc/filesystems)`;
}

/** mount(2), read-only. @throws CfsError (system) */
export function mountKernel(type: string, source: string, path: string, options: string): void {
  mountWith(MS_RDONLY, type, source, path, options);
}

/** mount(2), for writing. @throws CfsError (system) */
export function mountWritable(type: string, source: string, path: string, options: string): void {
  mountWith(0, type, source, path, options);
}

function mountWith(flags: number, type: string, source: string, path: string, options: string): void {
  const result = mount(source, path, type, flags, options);
  if (!isErrno(result)) return;
  throw new CfsError('system', `Cannot mount ${type} at ${path}: ${errnoName(result)}; dmesg tells more`);
}

/** How often and how long a busy mount is tried again: 5 s in all. */
const BUSY_TRIES = 50;
const BUSY_WAIT_MS = 100;

/**
 * Unmounts `path`; does nothing if it is not a mount point. A mount that stays busy is detached, and an error reports
 * that.
 */
export async function unmount(path: string): Promise<void> {
  if (!mounts().some((mount) => mount.path === path)) return;
  for (let attempt = 0; attempt < BUSY_TRIES; attempt++) {
    const refused = takeAway(path, false);
    if (refused === undefined) return;
    if (refused !== 'busy') throw new CfsError('system', `Cannot unmount ${path}: ${refused}`);
    await sleep(BUSY_WAIT_MS);
  }
  takeAway(path, true);
  throw new CfsError('system', `Cannot unmount ${path}: busy; it was detached (umount -l)`);
}

/** The helper that mounted for an ordinary user; only it may unmount that. */
const FUSERMOUNT = 'fusermount3';

/** Unmounts once. @returns the reason of a failure, with one word for transient ones; undefined on success */
function takeAway(path: string, lazily: boolean): string | undefined {
  const result = umount2(path, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0));
  if (result === 0 || result === EINVAL) return undefined;
  if (result === EBUSY) return 'busy';
  if (result !== EPERM || process.geteuid?.() === 0) return errnoName(result);
  const { error, status, stderr } = spawnSync(FUSERMOUNT, ['-u', ...(lazily ? ['-z'] : []), '--', path], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  if (error !== undefined) return `${FUSERMOUNT}: ${error.message}`;
  if (status === 0) return undefined;
  return /busy/i.test(stderr) ? 'busy' : stderr.trim() || `${FUSERMOUNT} ended with status ${status}`;
}
