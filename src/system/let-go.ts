/** Letting go of files at once, so that the file systems that they lie on can be unmounted. */
import { closeSync, fstatSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { dup2 } from './syscall.ts';

const STDERR = 2;

/**
 * Closes all regular files and directories that this process has open, and `devices`. Other threads may still use their
 * numbers: each becomes /dev/null, which they close in their own time, and never another file.
 */
export function letGoOfFiles(devices: readonly string[]): void {
  const none = openSync('/dev/null', 'r+');
  for (const name of readdirSync('/proc/self/fd')) {
    const fd = Number(name);
    if (fd > STDERR && fd !== none && holds(fd, devices)) dup2(none, fd);
  }
  closeSync(none);
}

function holds(fd: number, devices: readonly string[]): boolean {
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() || stat.isDirectory()) return true;
    return stat.isCharacterDevice() && devices.includes(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return false; // it was closed meanwhile
  }
}
