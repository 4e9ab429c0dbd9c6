/** Private xattrs of mounts, by which their servers answer questions. */
import { ENODATA, type Errno, isErrno } from '../../src/base/errno.ts';
import { getXattr } from '../../src/system/xattrs.ts';

/**
 * The value of a private xattr, mostly JSON. With privileges it is asked for with all that it has, else with what this
 * user may see.
 * @param path of the mount point, or of a file in the mount
 * @param key without its prefix, such as "log"
 */
export function privateXattr(path: Uint8Array, key: string): string | Errno {
  let failure: Errno = ENODATA;
  for (const prefix of ['trusted', 'user']) {
    const value = getXattr(path, `${prefix}.cfs.${key}`);
    if (!isErrno(value)) return Buffer.from(value).toString();
    failure = value;
  }
  return failure;
}
