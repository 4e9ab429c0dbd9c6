/**
 * Watches of inotify(7) and fanotify(7) as shown in /proc/PID/fdinfo: the handle of each watched inode.
 * proc_pid_fdinfo(5).
 */
import { type FileHandle, parseHandle } from '../base/handle-format.ts';

export interface Watch {
  readonly kind: 'inotify' | 'fanotify';
  /** Of the file system, as `st_dev` has it: major and minor. */
  readonly device: { readonly major: number; readonly minor: number };
  readonly handle: FileHandle;
}

/** The watches in a fdinfo file. Those of a whole mount or file system name no inode, and are not included. */
export function parseWatches(fdinfo: string): Watch[] {
  return fdinfo.split('\n').flatMap((line): Watch[] => {
    const kind = /^(inotify|fanotify) /.exec(line)?.[1] as Watch['kind'] | undefined;
    if (kind === undefined) return [];
    const field = (name: string): string | undefined => new RegExp(` ${name}:([0-9a-f]+)`).exec(line)?.[1];
    const handle = parseHandle(`0x${field('fhandle-type')}:${field('f_handle')}`);
    const sdev = field('sdev');
    if (sdev === undefined || handle === undefined) return [];
    // the kernel's own dev_t: 12 bits of major above 20 of minor
    const device = Number.parseInt(sdev, 16);
    return [{ kind, device: { major: device >>> 20, minor: device & 0xfffff }, handle }];
  });
}
