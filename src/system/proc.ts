/** /proc, which names of open files and mounts are read from. */
import { existsSync } from 'node:fs';
import { CfsError } from '../base/error.ts';

/**
 * Says that /proc is not mounted, as in a bare chroot or an initramfs, before something else fails for that in other words.
 * @throws CfsError (system)
 */
export function requireProc(): void {
  if (existsSync('/proc/self/fd')) return;
  throw new CfsError('system', "/proc is not mounted, and this program needs it: 'mount -t proc proc /proc' mounts it");
}
