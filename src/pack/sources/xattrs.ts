/** The xattrs of a file in a source. */
import { printable } from '../../base/bytes.ts';
import { E2BIG, ENODATA, EOPNOTSUPP, type Errno, isErrno } from '../../base/errno.ts';
import { CfsError } from '../../base/error.ts';
import type { Xattr } from '../../manifest/xattr-sets.ts';
import { systemError } from '../../system/libc.ts';
import { getXattr, listXattrs } from '../../system/xattrs.ts';
import { sourceError } from './source-error.ts';

const isKept = (name: Uint8Array): boolean =>
  /^(?:user|trusted|security)\.|^system\.posix_acl_(?:access|default)$/.test(Buffer.from(name).toString('latin1'));

/**
 * The attributes of the namespaces that an image keeps; others (system.nfs4_acl, btrfs.*) belong to their file system.
 * @param at a path for the call
 * @param path for messages
 * @throws CfsError (source)
 */
export function xattrsAt(at: Buffer, path: Uint8Array): Xattr[] {
  const fail = (errno: Errno): CfsError =>
    errno === E2BIG
      ? new CfsError(
          'source',
          `Cannot read the xattrs of ${printable(path)}: their names have more than 64 KiB together, which Linux does not list`,
          { hint: 'Remove some, or pack with `skipXattrs`.' },
        )
      : sourceError('read the xattrs of', path, systemError(errno, 'getxattr', ''));
  const names = listXattrs(at);
  if (isErrno(names)) {
    if (names === EOPNOTSUPP) return [];
    throw fail(names);
  }
  return names.filter(isKept).flatMap((name): Xattr[] => {
    const value = getXattr(at, name);
    if (!isErrno(value)) return [[name, value]];
    if (value === ENODATA) return []; // listed, but not visible to this process, or gone: ctime shows that
    throw fail(value);
  });
}
