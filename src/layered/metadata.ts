/** Changes of attributes and extended attributes. A file of the image is copied up without its data for them. */

import { EEXIST, EINVAL, ENODATA, ENOENT, EOPNOTSUPP, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { isPrivateXattr } from '../base/private-xattrs.ts';
import { S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { type Caller, mayListTrusted } from '../fs/caller.ts';
import { type Changes, type WritableAttributes, type Writer, XATTR_CREATE } from '../fs/writable-filesystem.ts';
import { rowOfId } from '../manifest/lookup.ts';
import { closeFd } from '../system/descriptors.ts';
import { chmodAt, chownAt, setTimesAt } from '../system/directory-calls.ts';
import { statusAt } from '../system/file-status.ts';
import { getXattrAt, listXattrsAt, removeXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import { UPPER } from '../upper/identity-table.ts';
import { upperAttributes } from './attributes.ts';
import { dropPrivileges, truncate } from './content.ts';
import { copyUp } from './copy-up.ts';
import type { Layer } from './layer.ts';
import { ACL_DEFAULT, forgetAcl } from './permissions.ts';
import type { Place } from './upper-tree.ts';

const S_ISGID = 0o2000;
const NUL = Uint8Array.of(0);
const XATTR_NAME_MAX = 255;

/** As `WritableFilesystem.setattr`. */
export function changeAttributes(layer: Layer, ino: number, changes: Changes, out: WritableAttributes): 0 | Errno {
  const { size } = changes;
  const row = copyUp(layer, ino, size ?? 'metadata');
  if (isErrno(row)) return row;
  if (size !== undefined || changes.killPrivileges) {
    const result = changeContent(layer, row, size, changes.killPrivileges);
    if (isErrno(result)) return result;
  }
  const place = layer.tree.place(row);
  if (isErrno(place)) return place;
  const result = change(place, changes);
  return isErrno(result) ? result : upperAttributes(layer, row, out);
}

function changeContent(layer: Layer, row: number, size: number | undefined, killPrivileges: boolean): 0 | Errno {
  const looked = layer.tree.status(row, layer.status);
  if (isErrno(looked)) return looked;
  if ((layer.status.mode & S_IFMT) !== S_IFREG) return size === undefined ? 0 : EINVAL;
  const opened = layer.tree.openContent(row, true);
  if (isErrno(opened)) return opened;
  const result = size === undefined ? dropPrivileges(opened.fd) : truncate(opened.fd, size, killPrivileges);
  closeFd(opened.fd);
  return result;
}

/** The owner first: a change of it removes set-id bits, which the mode may set. */
function change({ dir, name }: Place, { uid, gid, mode, atime, mtime }: Changes): 0 | Errno {
  if (uid !== undefined || gid !== undefined) {
    const owned = chownAt(dir, name, uid ?? -1, gid ?? -1);
    if (isErrno(owned)) return owned;
  }
  if (mode !== undefined) {
    const changed = chmodAt(dir, name, mode);
    if (isErrno(changed)) return changed;
  }
  return atime === undefined && mtime === undefined ? 0 : setTimesAt(dir, name, atime, mtime);
}

/** The place of the file of an inode in the upper layer; undefined if it is in the image only. */
function placeOf(layer: Layer, ino: number): Place | Errno | undefined {
  let row = layer.table.find(ino);
  if (row < 0 && rowOfId(layer.tables, ino) < 0) {
    row = layer.rowAfterScan(ino);
    if (row < 0) return ENOENT;
  }
  if (row < 0 || (layer.table.flags(row) & UPPER) === 0) return undefined;
  // a look mends the place
  const looked = layer.tree.status(row, layer.status);
  return isErrno(looked) ? looked : layer.tree.place(row);
}

export function getXattr(layer: Layer, ino: number, name: Uint8Array, caller: Caller | undefined): Uint8Array | Errno {
  // the mount answers it, not a file
  if (isPrivateXattr(name)) return rowOfId(layer.tables, ino) < 0 ? ENODATA : layer.image.getxattr(ino, name, caller);
  const place = placeOf(layer, ino);
  if (isErrno(place)) return place;
  if (place === undefined) {
    const value = layer.image.getxattr(ino, name, caller);
    return value === EOPNOTSUPP ? ENODATA : value;
  }
  const stored = layer.names.escape(name);
  if (isErrno(stored)) return stored === EOPNOTSUPP ? ENODATA : stored;
  const value = getXattrAt(place.dir, place.name, stored);
  return value === EOPNOTSUPP ? ENODATA : value;
}

export function listXattrs(layer: Layer, ino: number, caller: Caller | undefined): Uint8Array | Errno {
  const place = placeOf(layer, ino);
  if (isErrno(place)) return place;
  if (place === undefined) return layer.image.listxattr(ino, caller);
  const list = listXattrsAt(place.dir, place.name);
  if (isErrno(list)) return list;
  const parts: Uint8Array[] = [];
  let listsTrusted: boolean | undefined;
  for (let at = 0; at < list.length; ) {
    const end = list.indexOf(0, at);
    const stored = list.subarray(at, end);
    at = end + 1;
    if (isPrivateXattr(stored)) continue;
    const name = layer.names.unescape(stored);
    if (name === undefined) continue;
    if (isTrusted(name)) {
      listsTrusted ??= caller === undefined || mayListTrusted(caller);
      if (!listsTrusted) continue;
    }
    parts.push(name, NUL);
  }
  return Buffer.concat(parts);
}

const isTrusted = (name: Uint8Array): boolean => Buffer.from(name.subarray(0, 8)).toString('latin1') === 'trusted.';

export function setXattr(
  layer: Layer,
  ino: number,
  name: Uint8Array,
  value: Uint8Array,
  flags: number,
  killSgid: boolean,
  writer: Writer,
): 0 | Errno {
  if (isPrivateXattr(name)) return EPERM;
  const stored = layer.names.escape(name);
  if (isErrno(stored)) return stored;
  if (stored.length > XATTR_NAME_MAX) return EOPNOTSUPP;
  const row = copyUp(layer, ino, 'metadata');
  if (isErrno(row)) return row;
  const place = layer.tree.place(row);
  if (isErrno(place)) return place;
  const set = setXattrAt(place.dir, place.name, stored, value, flags);
  if (set === EEXIST && flags === XATTR_CREATE && writer.again) return 0;
  if (isErrno(set)) return set;
  if (isAcl(name)) forgetAcl(layer, row);
  return killSgid ? removeSgid(layer, place) : 0;
}

const isAcl = (name: Uint8Array): boolean => Buffer.from(name).equals(ACL_DEFAULT);

function removeSgid(layer: Layer, { dir, name }: Place): 0 | Errno {
  const looked = statusAt(dir, name, layer.status);
  if (isErrno(looked)) return looked;
  const { mode } = layer.status;
  return (mode & S_ISGID) === 0 ? 0 : chmodAt(dir, name, mode & 0o7777 & ~S_ISGID);
}

export function removeXattr(layer: Layer, ino: number, name: Uint8Array, writer: Writer): 0 | Errno {
  if (isPrivateXattr(name)) return EPERM;
  const stored = layer.names.escape(name);
  if (isErrno(stored)) return stored;
  // an xattr that is not there costs no copy
  const present = getXattr(layer, ino, name, undefined);
  if (isErrno(present)) return present === ENODATA && writer.again ? 0 : present;
  const row = copyUp(layer, ino, 'metadata');
  if (isErrno(row)) return row;
  const place = layer.tree.place(row);
  if (isErrno(place)) return place;
  const removed = removeXattrAt(place.dir, place.name, stored);
  if (isErrno(removed)) return removed === ENODATA && writer.again ? 0 : removed;
  if (isAcl(name)) forgetAcl(layer, row);
  return 0;
}
