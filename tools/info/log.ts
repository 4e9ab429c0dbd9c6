/** `cfs-info log`: the last problems of a mount. */
import { isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import type { Problem } from '../../src/mount/problem-memory.ts';
import type { Output } from './output.ts';
import { privateXattr } from './private-xattr.ts';
import { mountpointOrPath } from './stats.ts';

/**
 * One line each, the oldest first; nothing if there was none.
 * @param path any path in the mount
 * @throws CfsError (usage) if it is not in a mount of cfs, or only root may query it
 */
export function showLog(path: string, json: boolean, out: Output): void {
  const mountpoint = mountpointOrPath(path);
  const value = privateXattr(mountpoint, 'log');
  if (isErrno(value)) throw new CfsError('usage', `${path} is not in a mount of cfs, or only root may query its log`);
  for (const problem of JSON.parse(value) as Problem[]) {
    if (json) out.jsonElement(problem);
    else out.text(`${problem.time} ${problem.severity}: ${problem.message}\n`);
  }
  if (json) out.jsonEnd();
}
