/** Detects whether a file is still the same and unchanged. */
import type { FileStat } from '../system/file-status.ts';

export type SourceInode = Pick<FileStat, 'device' | 'inodeHigh' | 'inodeLow'>;
export type FileState = SourceInode & Pick<FileStat, 'size' | 'ctime' | 'ctimeNsec'>;

export const isSameInode = (a: SourceInode, b: SourceInode): boolean =>
  a.inodeLow === b.inodeLow && a.inodeHigh === b.inodeHigh && a.device === b.device;

/** Whether `now` is the same file as `before`, and nothing was written to it in between. */
export const isUnchanged = (before: FileState, now: FileState): boolean =>
  isSameInode(before, now) &&
  now.size === before.size &&
  now.ctime === before.ctime &&
  now.ctimeNsec === before.ctimeNsec;
