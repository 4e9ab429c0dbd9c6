/**
 * Mounting and unmounting: mount(2) if it is permitted (root, and root of a user namespace), else fusermount3, the
 * setuid helper of libfuse.
 */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { EBUSY, EINVAL, EPERM, type Errno, errnoName, isErrno } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { receiveFd, SOCK_STREAM, socketpair } from '../system/descriptor-passing.ts';
import { exactCommand } from '../system/exact-words.ts';
import {
  MNT_DETACH,
  MS_NOATIME,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  mount,
  UMOUNT_NOFOLLOW,
  umount2,
} from '../system/mount-calls.ts';
import { listMounts } from '../system/mount-table.ts';
import { openDevice } from './device.ts';

export interface KernelMountOptions {
  /** Absolute, without symbolic links. */
  readonly mountpoint: string;
  /** The source that mountinfo and df show. */
  readonly source: string;
  readonly allowOther: boolean;
  readonly suid: boolean;
  readonly dev: boolean;
  readonly exec: boolean;
  readonly noatime: boolean;
  readonly writable?: boolean;
}

type MountFlag = 'writable' | 'suid' | 'dev' | 'exec' | 'noatime';

const SUBTYPE = 'cfs';
const FUSERMOUNT = 'fusermount3';

/** A mount whose INIT request has not been answered yet. */
export interface KernelMount {
  /** The connection; it ends the mount when its last copy closes. */
  readonly fd: number;
  /** Mounted by the helper, and so unmounted by it. */
  readonly helper: boolean;
}

/** @throws CfsError (mount) */
export async function mountKernel(options: KernelMountOptions): Promise<KernelMount> {
  if (process.geteuid?.() !== 0) return mountByHelper(options);
  const fd = openDevice();
  const result = mount(options.source, options.mountpoint, `fuse.${SUBTYPE}`, flagsOf(options), dataOf(options, fd));
  if (!isErrno(result)) return { fd, helper: false };
  closeSync(fd);
  throw new CfsError('mount', `Cannot mount on ${options.mountpoint}: ${mountReason(result)}`, {
    hint: result === EPERM ? PRIVILEGES : undefined,
  });
}

const UNSHARE = "'unshare --user --map-root-user --mount'";
const PRIVILEGES = `Mounting needs CAP_SYS_ADMIN: in a container, give it that; as an ordinary user, try ${UNSHARE}.`;

function mountReason(errno: Errno): string {
  if (errno === EPERM) return 'operation not permitted';
  if (errno === EBUSY) return 'it is busy';
  if (errno === EINVAL) return 'the kernel refuses the options (EINVAL)';
  return errnoName(errno);
}

/** The flags of mount(2). */
export function flagsOf(options: Pick<KernelMountOptions, MountFlag>): number {
  return (
    (options.writable ? 0 : MS_RDONLY) |
    (options.suid ? 0 : MS_NOSUID) |
    (options.dev ? 0 : MS_NODEV) |
    (options.exec ? 0 : MS_NOEXEC) |
    (options.noatime ? MS_NOATIME : 0)
  );
}

/** Options that only FUSE reads (fs/fuse/inode.c, fuse_fs_parameters). */
function dataOf(options: KernelMountOptions, fd: number): string {
  const { geteuid, getegid } = process;
  const parts = [
    `fd=${fd}`,
    'rootmode=40000',
    `user_id=${geteuid?.() ?? 0}`,
    `group_id=${getegid?.() ?? 0}`,
    'default_permissions',
  ];
  if (options.allowOther) parts.push('allow_other');
  return parts.join(',');
}

/** In fusermount3's option list a comma or backslash of the source needs a backslash. */
const escapeOption = (text: string): string => text.replace(/[\\,]/g, '\\$&');

/** The option list of fusermount3. */
export function helperOptions(options: Omit<KernelMountOptions, 'mountpoint'>): string {
  const words = [
    options.writable ? 'rw' : 'ro',
    'default_permissions',
    `subtype=${SUBTYPE}`,
    `fsname=${escapeOption(options.source)}`,
  ];
  words.push(options.suid ? 'suid' : 'nosuid', options.dev ? 'dev' : 'nodev');
  if (!options.exec) words.push('noexec');
  if (options.noatime) words.push('noatime');
  if (options.allowOther) words.push('allow_other');
  return words.join(',');
}

/** fusermount3 mounts and sends the connection over the socket named by _FUSE_COMMFD. */
async function mountByHelper(options: KernelMountOptions): Promise<KernelMount> {
  const pair = socketpair(SOCK_STREAM);
  if (isErrno(pair)) throw new CfsError('system', `Cannot make a socket pair: ${errnoName(pair)}`);
  const [own, theirs] = pair;
  try {
    // this process's copy of their end is closed before waiting, so that a helper that sends nothing is seen as the end
    const failure = await runHelper(options, theirs).finally(() => closeSync(theirs));
    if (failure !== undefined) {
      throw new CfsError('mount', `Cannot mount on ${options.mountpoint}: ${failure.reason}`, { hint: failure.hint });
    }
    const fd = receiveFd(own);
    if (isErrno(fd)) {
      throw new CfsError(
        'mount',
        `Cannot mount on ${options.mountpoint}: ${FUSERMOUNT} sent no connection (${errnoName(fd)})`,
      );
    }
    return { fd, helper: true };
  } finally {
    closeSync(own);
  }
}

/** The reason for a failed mount, and the remedy. */
interface HelperFailure {
  readonly reason: string;
  readonly hint?: string;
}

function runHelper(options: KernelMountOptions, socket: number): Promise<HelperFailure | undefined> {
  return new Promise((resolve) => {
    const [program, args] = exactCommand(FUSERMOUNT, ['-o', helperOptions(options), '--', options.mountpoint]);
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe', socket],
      env: { ...process.env, _FUSE_COMMFD: '3' },
    });
    let text = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      resolve(
        missing
          ? {
              reason: `${FUSERMOUNT} is not installed, and only root may mount without it`,
              hint: `Install it (Debian: package fuse3), or use ${UNSHARE}.`,
            }
          : { reason: error.message },
      );
    });
    child.on('close', (code) => resolve(code === 0 ? undefined : helperReason(text.trim(), code)));
  });
}

function helperReason(text: string, code: number | null): HelperFailure {
  if (text === '') return { reason: `${FUSERMOUNT} failed with status ${code}` };
  const isClosed = /\/dev\/fuse: Permission denied/.test(text);
  return { reason: text, ...(isClosed ? { hint: "As root: 'chmod 0666 /dev/fuse'." } : {}) };
}

/**
 * Detaches the mount of `device` from `mountpoint`, or from its current path, if a directory above it was renamed.
 * Processes that use it keep it until they are done. Does nothing if it is no longer mounted.
 * @returns EBUSY if another mount is on top of it
 */
export function unmountKernel(mountpoint: string, device: string, helper: boolean): 0 | Errno {
  const mounts = listMounts();
  const own = mounts.filter((mount) => mount.device === device);
  // the others are copies, made with mount --bind
  const place = (own.find((mount) => mount.mountpoint === mountpoint) ?? own[0])?.mountpoint;
  if (place === undefined) return 0;
  const top = mounts.findLast((mount) => mount.mountpoint === place);
  if (top?.device !== device) return EBUSY;
  return unmountNew(place, helper);
}

/** Detaches the topmost mount at `mountpoint`. */
export function unmountNew(mountpoint: string, helper: boolean): 0 | Errno {
  if (!helper) return umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
  const [program, args] = exactCommand(FUSERMOUNT, ['-u', '-z', '--', mountpoint]);
  const { status } = spawnSync(program, args, { stdio: 'ignore' });
  return status === 0 ? 0 : EPERM;
}
