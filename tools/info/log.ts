/** `cfs-info log`: the last problems of a mount. */
import { isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import type { Problem } from '../../src/mount/problem-memory.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import type { Output } from './output.ts';
import { mountpointOrPath } from './stats.ts';

/**
 * One line each, the oldest first; nothing if there was none.
 * @param path any path in the mount
 * @throws CfsError (usage) if it is not in a mount of cfs, or only root may query it
 */
export function showLog(path: string, json: boolean, out: Output): void {
  const mountpoint = mountpointOrPath(path);
  for (const name of ['trusted.cfs.log', 'user.cfs.log']) {
    const value = getXattr(mountpoint, name);
    if (isErrno(value)) continue;
    for (const problem of JSON.parse(Buffer.from(value).toString()) as Problem[]) {
      if (json) out.jsonElement(problem);
      else out.text(`${problem.time} ${problem.severity}: ${problem.message}\n`);
    }
    if (json) out.jsonEnd();
    return;
  }
  throw new CfsError('usage', `${path} is not in a mount of cfs, or only root may query its log`);
}
