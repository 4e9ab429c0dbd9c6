/** /proc, which provides the names of open files and mounts. */
import { existsSync } from 'node:fs';
import { CfsError } from '../base/error.ts';

/**
 * Reports that /proc is not mounted, as in a bare chroot or an initramfs, before another operation fails with a less
 * clear message.
 * @throws CfsError (system)
 */
export function requireProc(): void {
  if (existsSync('/proc/self/fd')) return;
  throw new CfsError('system', "/proc is not mounted, and this program needs it: 'mount -t proc proc /proc' mounts it");
}
