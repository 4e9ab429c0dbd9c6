/** Mounts an image with cfs-mount, and detects when its daemon is gone. */
import { fuseUnavailable, unmountDaemon } from './fuse-daemon.ts';
import { missingTools, run, toolCommand } from './process.ts';

export interface MountedImage {
  /** The daemon's process id; undefined if cfs-mount did not report it. */
  readonly pid: number | undefined;
  /** From the start of cfs-mount until it returned. */
  readonly ns: number;
}

/** The reason why images cannot be packed and mounted here; undefined if they can. */
export function cfsUnavailable(): string | undefined {
  return missingTools('cfs-mkimage', 'cfs-mount') ?? fuseUnavailable();
}

/** Mounts `image` at `mountpoint`; `options` are the words of -o. @param repository undefined if the image is a URL */
export async function mountImage(
  repository: string | undefined,
  image: string,
  mountpoint: string,
  options: readonly string[],
  signal: AbortSignal,
): Promise<MountedImage> {
  const flags = options.length === 0 ? [] : ['-o', options.join(',')];
  const repo = repository === undefined ? [] : ['--repo', repository];
  const command = toolCommand('cfs-mount', '--json', ...repo, ...flags, image, mountpoint);
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

/** Unmounts, and waits until the daemon is gone. One that stays is killed, and an error reports that. */
export function unmountImage(mountpoint: string, pid: number | undefined): Promise<void> {
  return unmountDaemon(mountpoint, pid, 'cfs-mount');
}
