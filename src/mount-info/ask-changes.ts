/** Asks a mount for the changes of its upper layer. */
import { closeSync, constants, openSync } from 'node:fs';
import { EINVAL, ENOTCONN, ENOTTY, type Errno, errnoOf, isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { pathBytes } from '../base/path-text.ts';
import { ioctl } from '../system/descriptors.ts';
import { errnoText } from '../system/libc.ts';
import { type ChangeRecord, type ChangesAnswer, CURSOR_SIZE, decodeAnswer, encodeRequest } from './change-records.ts';
import { CFS_IOC_CHANGES, CFS_IOC_MOUNT } from './mount-ioctls.ts';
import { MOUNT_SIZE } from './mount-record.ts';

/** The result of a pass. */
export interface MountChanges {
  /** For a later call: what changes from the beginning of this one on. */
  readonly token: string;
  /** Whether all changes are listed, and not only those since the token that was given. */
  readonly isEverything: boolean;
  /** Whether some are left out, because the caller may not list their directories. */
  readonly isHidden: boolean;
  /** Whether some are left out because their paths are too long, or they cannot be read. */
  readonly isIncomplete: boolean;
  /** Whether inodes of the image may have other numbers in the mount, which was rebased. */
  readonly isRebased: boolean;
  /** In no order. */
  readonly records: readonly ChangeRecord[];
}

/**
 * All changes of the upper layer of the mount that contains the directory `path`, or those since an earlier call.
 * @param since a token; undefined for all
 * @throws CfsError: `usage` if it is in no writable mount of cfs, `system` if it cannot be asked
 */
export function askChanges(path: string, since?: string): MountChanges {
  let fd: number;
  try {
    fd = openSync(pathBytes(path), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) === ENOTCONN) throw refused(path, ENOTCONN);
    throw new CfsError('system', `Cannot open ${path}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    const found = changesOf(fd, since);
    if (isErrno(found)) throw isOfCfs(fd) && found === ENOTTY ? notWritable(path) : refused(path, found);
    return found;
  } finally {
    closeSync(fd);
  }
}

/** As `askChanges`. @param fd an open directory of the mount */
export function changesOf(fd: number, since: string = ''): MountChanges | Errno {
  const records: ChangeRecord[] = [];
  let isHidden = false;
  let isIncomplete = false;
  let request = { since, token: '', cursor: new Uint8Array(CURSOR_SIZE) as Uint8Array };
  for (;;) {
    const struct = encodeRequest(request);
    const result = ioctl(fd, CFS_IOC_CHANGES, struct);
    if (isErrno(result)) return result;
    const answer: ChangesAnswer | undefined = decodeAnswer(struct);
    if (answer === undefined) return EINVAL;
    for (const record of answer.records) records.push(record);
    isHidden ||= answer.isHidden;
    isIncomplete ||= answer.isIncomplete;
    const { token, isEverything, isRebased } = answer;
    if (!answer.hasMore) return { token, isEverything, isHidden, isIncomplete, isRebased, records };
    request = { since, token, cursor: answer.cursor };
  }
}

const isOfCfs = (fd: number): boolean => !isErrno(ioctl(fd, CFS_IOC_MOUNT, Buffer.alloc(MOUNT_SIZE)));

const notWritable = (path: string): CfsError =>
  new CfsError('usage', `The mount at ${path} has no upper layer, and so no changes`, {
    hint: 'Mount the image with a directory for changes.',
  });

function refused(path: string, errno: Errno): CfsError {
  if (errno === ENOTTY) return new CfsError('usage', `${path} is not in a mount of cfs`);
  const reason = errno === ENOTCONN ? 'its daemon is dead' : errnoText(errno);
  return new CfsError('system', `Cannot ask the mount at ${path}: ${reason}`);
}
