/** Mounting an image with cfs-mount, and knowing when its daemon is gone. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CfsError, reasonOf } from '../../src/error.ts';
import { unmount } from './mounts.ts';
import { missingTools, run, toolCommand } from './process.ts';

/** How long a daemon may live on after its mount is gone, before it is killed: it would disturb the next sample. */
const END_TRIES = 400;
const END_WAIT_MS = 50;

export interface MountedImage {
  /** The daemon's process id; undefined where cfs-mount did not say. */
  readonly pid: number | undefined;
  /** From the start of cfs-mount until it returned. */
  readonly ns: number;
}

/** Why images cannot be packed and mounted here; undefined where they can. */
export function cfsUnavailable(): string | undefined {
  const missing = missingTools('cfs-mkimage', 'cfs-mount');
  if (missing !== undefined) return missing;
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    return `/dev/fuse cannot be opened: ${reasonOf(error)}`;
  }
}

/** Mounts `image` at `mountpoint`; `options` are what follows -o. */
export async function mountImage(
  repository: string,
  image: string,
  mountpoint: string,
  options: readonly string[],
  signal: AbortSignal,
): Promise<MountedImage> {
  const flags = options.length === 0 ? [] : ['-o', options.join(',')];
  const command = toolCommand('cfs-mount', '--json', '--repo', repository, ...flags, image, mountpoint);
  const { ns, stdout } = await run(command, signal, 'collect');
  return { pid: pidIn(stdout.toString()), ns };
}

function pidIn(stdout: string): number | undefined {
  try {
    const { pid } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { pid?: unknown };
    return typeof pid === 'number' && pid > 1 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Unmounts, and waits until the daemon is gone. One that stays is killed, and an error says so. */
export async function unmountImage(mountpoint: string, pid: number | undefined): Promise<void> {
  await unmount(mountpoint);
  if (pid === undefined) return;
  for (let attempt = 0; attempt < END_TRIES; attempt++) {
    if (!isDaemon(pid)) return;
    await sleep(END_WAIT_MS);
  }
  process.kill(pid, 'SIGKILL');
  throw new CfsError(
    'system',
    `the daemon ${pid} of ${mountpoint} did not end after the unmount (does another mount namespace hold the mount?), and was killed`,
  );
}

/** False once the process is gone, a zombie, or its number belongs to another program. */
function isDaemon(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('cfs-mount');
  } catch {
    return false;
  }
}
