/** Paths that /proc shows of the files of a process, as paths in the mount: the process may have other mounts. */
import { readFileSync } from 'node:fs';
import { majorOf, minorOf } from '../base/stat-bits.ts';
import { type MountEntry, parseMountTable } from '../system/mount-table.ts';

const SLASH = 0x2f;

/**
 * The mounts of one file system that a process sees.
 * @param task its directory in /proc
 * @param dev as the kernel has it in 32 bits (`encodeDevice`)
 */
export function mountsOfProcess(task: string, dev: number): MountEntry[] {
  const device = `${majorOf(dev)}:${minorOf(dev)}`;
  try {
    const mounts = parseMountTable(readFileSync(`${task}/mountinfo`, 'latin1'));
    return mounts.filter((mount) => mount.device === device);
  } catch {
    return [];
  }
}

/** @param shown as it begins at the root of the process; returned as it is if it is in none of the mounts */
export function pathInMount(mounts: readonly MountEntry[], shown: Buffer): Uint8Array {
  let best: MountEntry | undefined;
  for (const mount of mounts) {
    const isLonger = best === undefined || mount.mountpointBytes.length >= best.mountpointBytes.length;
    if (isLonger && isBelow(shown, mount.mountpointBytes)) best = mount;
  }
  if (best === undefined) return shown;
  const rest = shown.subarray(withoutSlash(best.mountpointBytes).length);
  const path = Buffer.concat([withoutSlash(best.root), rest]);
  return path.length === 0 ? Buffer.of(SLASH) : path;
}

function isBelow(path: Buffer, directory: Uint8Array): boolean {
  const above = withoutSlash(directory);
  if (!path.subarray(0, above.length).equals(above)) return false;
  return path.length === above.length || path[above.length] === SLASH;
}

const withoutSlash = (path: Uint8Array): Uint8Array => (path.length === 1 ? new Uint8Array(0) : path);
