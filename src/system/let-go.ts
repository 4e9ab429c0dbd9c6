/** Releases files at once, so that their file systems can be unmounted. */
import { closeSync, fstatSync, openSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { dup2 } from './descriptors.ts';

const STDERR = 2;
const OPEN_FILES = '/proc/self/fd';

/**
 * Closes all regular files and directories that this process has open, and `devices`. Other threads may still use their
 * numbers: each becomes /dev/null, which the threads close in their own time, and never another file. Those on procfs
 * stay open: it is never unmounted, and another thread may be listing its descriptors there for the same purpose.
 */
export function letGoOfFiles(devices: readonly string[]): void {
  const none = openSync('/dev/null', 'r+');
  const { dev: procfs } = statSync(OPEN_FILES);
  for (const name of readdirSync(OPEN_FILES)) {
    const fd = Number(name);
    if (fd > STDERR && fd !== none && holds(fd, devices, procfs)) dup2(none, fd);
  }
  closeSync(none);
}

function holds(fd: number, devices: readonly string[], procfs: number): boolean {
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() || stat.isDirectory()) return stat.dev !== procfs;
    return stat.isCharacterDevice() && devices.includes(readlinkSync(`${OPEN_FILES}/${fd}`));
  } catch {
    return false; // it was closed in the meantime
  }
}
