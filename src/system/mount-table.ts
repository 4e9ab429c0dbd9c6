/** The mount table: /proc/self/mountinfo, proc_pid_mountinfo(5). */
import { readFileSync } from 'node:fs';
import { pathText } from '../base/path-text.ts';

export interface MountEntry {
  readonly mountId: number;
  /** The mount that this one is mounted on. */
  readonly parentId: number;
  /** major:minor of the file system. */
  readonly device: string;
  /**
   * The directory or file of that file system that is visible at the mount point: "/", or the source of a bind mount.
   */
  readonly root: Uint8Array;
  /** In the text of base/path-text.ts. */
  readonly mountpoint: string;
  readonly mountpointBytes: Uint8Array;
  readonly type: string;
  readonly source: string;
  /** Options of the file system, as they are written there: see `mountOptionBytes`. */
  readonly options: string;
}

/** Blanks, line feeds and backslashes are written in octal there; all others are bytes, here one character each. */
const unescapeField = (text: string): Buffer =>
  Buffer.from(
    text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    'latin1',
  );

/** The value of an option in `MountEntry.options`; undefined if it is not there. */
export function mountOptionBytes(options: string, name: string): Uint8Array | undefined {
  const option = options.split(',').find((word) => word.startsWith(`${name}=`));
  return option === undefined ? undefined : unescapeField(option.slice(name.length + 1));
}

/** How mountinfo writes a mount point. */
export const escapedMountpoint = (mountpoint: string): string =>
  mountpoint.replace(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);

/** The entries of a mountinfo file, in its order. `text`: its bytes, read as latin1. */
export function parseMountTable(text: string): MountEntry[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before, after] = line.split(' - ') as [string, string];
      const fields = before.split(' ');
      const [type, source, options] = after.split(' ') as [string, string, string | undefined];
      const mountpointBytes = unescapeField(fields[4] as string);
      return {
        mountId: Number(fields[0]),
        parentId: Number(fields[1]),
        device: fields[2] as string,
        root: unescapeField(fields[3] as string),
        mountpoint: pathText(mountpointBytes),
        mountpointBytes,
        type,
        source: pathText(unescapeField(source)),
        options: options ?? '',
      };
    });
}

/** The mounts of this mount namespace, in mounting order. */
export function listMounts(): MountEntry[] {
  return parseMountTable(readFileSync('/proc/self/mountinfo', 'latin1'));
}

/** The mount that is visible at exactly this directory: the last mount hides the others. */
export function mountAt(mountpoint: string): MountEntry | undefined {
  return listMounts().findLast((entry) => entry.mountpoint === mountpoint);
}

/** The id of the mount that `fd` was opened through, also for O_PATH; undefined if /proc does not have it. */
export function mountIdOfFd(fd: number): number | undefined {
  const [, id] = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? [];
  return id === undefined ? undefined : Number(id);
}

/** The mount with this id, undefined if it is not in this mount namespace (any more). */
export function mountOfId(mountId: number | undefined): MountEntry | undefined {
  return listMounts().find((entry) => entry.mountId === mountId);
}
