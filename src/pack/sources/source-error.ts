/** Errors of a source, with the path of the file. */
import { printable } from '../../base/bytes.ts';
import { ENOENT, errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { isOutOfFiles, openFilesAdvice } from '../../system/resource-limits.ts';

/** "Cannot `action` `path`", because of an error of the system. */
export function sourceError(action: string, path: Uint8Array, error: unknown): CfsError {
  if (isOutOfFiles(error)) {
    const text = `Cannot ${action} ${printable(path)}: ${reasonOf(error)}`;
    return new CfsError('system', text, { hint: openFilesAdvice(error), cause: error });
  }
  const gone = errnoOf(error) === ENOENT ? ' It vanished while it was packed.' : '';
  return new CfsError('source', `Cannot ${action} ${printable(path)}: ${reasonOf(error)}.${gone}`, { cause: error });
}

/** The file is not what it was when packing met it. */
export const changed = (path: Uint8Array): CfsError =>
  new CfsError('source', `Cannot pack ${printable(path)}: it changed while it was packed`, {
    hint: 'Pack a snapshot, or stop the program that writes to it.',
  });
