/** Distinguishing files. */

/** The part of a stat that identifies the file: st_dev and st_ino. */
export interface FileNumbers {
  readonly dev: number;
  readonly ino: number;
}

/**
 * 32 bits of device and inode number: a different value is a different file. Compared together with a time, or while
 * one of both is open.
 */
export function fileIdentity({ dev, ino }: FileNumbers): number {
  return (ino ^ Math.imul(dev, 0x9e3779b1)) >>> 0;
}
