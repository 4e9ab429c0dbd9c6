/** Changes of attributes and extended attributes. A file of the image is copied up without its data for them. */

import { equalBytes } from '../base/bytes.ts';
import { EEXIST, EINVAL, ENODATA, EOPNOTSUPP, EPERM, type Errno, isErrno } from '../base/errno.ts';
import { isPrivateXattr } from '../base/private-xattrs.ts';
import { PERMISSIONS, S_IFMT, S_IFREG, S_ISGID } from '../base/stat-bits.ts';
import { type Caller, mayListTrusted } from '../fs/caller.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import { type Changes, type WritableAttributes, type Writer, XATTR_CREATE } from '../fs/writable-filesystem.ts';
import { closeFd } from '../system/descriptors.ts';
import { chmodAt, chownAt, setTimesAt } from '../system/directory-calls.ts';
import { statusAt } from '../system/file-status.ts';
import { getXattrAt, listXattrsAt, removeXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import { UPPER } from '../upper/identity-table.ts';
import { fillFrom, upperAttributes } from './attributes.ts';
import { dropPrivileges, truncate } from './content.ts';
import { copyUp, type LastTouch } from './copy-up.ts';
import type { Layer } from './layer.ts';
import { LABELED, NO_CAPABILITIES } from './layer-rows.ts';
import { CAPABILITIES } from './layer-xattrs.ts';
import { ACL_DEFAULT, forgetAcl } from './permissions.ts';
import type { Place } from './upper-tree.ts';

const NUL = Uint8Array.of(0);
const EMPTY: Uint8Array = Uint8Array.of();
const XATTR_NAME_MAX = 255;

/** As `WritableFilesystem.setattr`. */
export function changeAttributes(layer: Layer, ino: number, changes: Changes, out: WritableAttributes): 0 | Errno {
  const { size } = changes;
  // a change of owner removes them itself
  const isKilling = changes.killPrivileges && changes.uid === undefined && changes.gid === undefined;
  const touch: LastTouch | undefined = size !== undefined || isKilling ? undefined : touchOf(changes);
  const row = copyUp(layer, ino, size ?? 'metadata', touch);
  if (isErrno(row)) return row;
  if (touch?.isApplied === true) return fillFrom(layer, row, layer.status, out);
  if (size !== undefined || isKilling) {
    const result = changeContent(layer, row, size, changes.killPrivileges);
    if (isErrno(result)) return result;
  }
  const place = layer.tree.checkedPlace(row);
  if (isErrno(place)) return place;
  const result = change(place, changes);
  if (isErrno(result)) return result;
  if (size !== undefined || changes.mtime !== undefined) layer.state.times.changed(ino, place.dir, place.name);
  return upperAttributes(layer, row, out);
}

const touchOf = (changes: Changes): LastTouch => ({
  isOwning: changes.uid !== undefined && changes.gid !== undefined,
  apply: (file) => change(file, changes),
  isApplied: false,
});

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

/** Sets the owner first: a change of it removes set-id bits, which the mode may set. */
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
export function upperPlaceOf(layer: Layer, ino: number): Place | Errno | undefined {
  const known = layer.find(ino);
  if (isErrno(known)) return known;
  const row = layer.table.find(ino);
  if (row < 0 || (layer.table.flags(row) & UPPER) === 0) return undefined;
  return layer.tree.checkedPlace(row);
}

/** Not of a private xattr. */
export function getXattr(layer: Layer, ino: number, name: Uint8Array, caller: Caller | undefined): Uint8Array | Errno {
  const isCapabilities = equalBytes(name, CAPABILITIES);
  if (isCapabilities && hasNoCapabilities(layer, ino)) return ENODATA;
  const place = upperPlaceOf(layer, ino);
  if (isErrno(place)) return place;
  const value =
    place === undefined ? layer.image.getxattr(layer.idInImage(ino), name, caller) : ofUpper(layer, place, name);
  if (value === ENODATA && isCapabilities && place !== undefined) noteNoCapabilities(layer, ino);
  if (value !== EOPNOTSUPP && value !== ENODATA) return value;
  return isLabel(name) && !hasLabels(layer) ? EOPNOTSUPP : ENODATA;
}

function ofUpper(layer: Layer, { dir, name: file }: Place, name: Uint8Array): Uint8Array | Errno {
  const stored = layer.names.escape(name);
  return isErrno(stored) ? stored : getXattrAt(dir, file, stored);
}

const LABEL: Uint8Array = Buffer.from('security.selinux');

/** The kernel asks before the first write to each file. */
function hasNoCapabilities({ table }: Layer, ino: number): boolean {
  const row = table.find(ino);
  return row >= 0 && (table.flags(row) & NO_CAPABILITIES) !== 0;
}

function noteNoCapabilities({ table }: Layer, ino: number): void {
  const row = table.find(ino);
  if (row >= 0) table.setFlags(row, NO_CAPABILITIES, 0);
}

const isLabel = (name: Uint8Array): boolean => equalBytes(name, LABEL);

/** Whether an open directory has an SELinux label. */
export const hasLabel = (fd: number): boolean => !isErrno(getXattrAt(fd, EMPTY, LABEL));

/**
 * Whether any file may have an SELinux label. If none has, the answer is that of a file system without them: ls(1) asks
 * for no other file's, while it would otherwise ask for each. On a system with SELinux, every file has one.
 */
function hasLabels({ table, image }: Layer): boolean {
  const root = table.find(ROOT_INO);
  return (table.flags(root) & LABELED) !== 0 || image.getxattr(ROOT_INO, LABEL) !== EOPNOTSUPP;
}

export function listXattrs(layer: Layer, ino: number, caller: Caller | undefined): Uint8Array | Errno {
  const place = upperPlaceOf(layer, ino);
  if (isErrno(place)) return place;
  if (place === undefined) return layer.image.listxattr(layer.idInImage(ino), caller);
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
  const place = layer.tree.checkedPlace(row);
  if (isErrno(place)) return place;
  const set = setXattrAt(place.dir, place.name, stored, value, flags);
  const isDone = set === EEXIST && flags === XATTR_CREATE && writer.again;
  if (isErrno(set) && !isDone) return set;
  if (isAcl(name)) forgetAcl(layer, row);
  if (equalBytes(name, CAPABILITIES)) layer.table.setFlags(row, 0, NO_CAPABILITIES);
  if (isLabel(name)) layer.table.setFlags(layer.table.find(ROOT_INO), LABELED, 0);
  return killSgid ? removeSgid(layer, place) : 0;
}

const isAcl = (name: Uint8Array): boolean => Buffer.from(name).equals(ACL_DEFAULT);

function removeSgid(layer: Layer, { dir, name }: Place): 0 | Errno {
  const looked = statusAt(dir, name, layer.status);
  if (isErrno(looked)) return looked;
  const { mode } = layer.status;
  return (mode & S_ISGID) === 0 ? 0 : chmodAt(dir, name, mode & PERMISSIONS & ~S_ISGID);
}

const NAMESPACES = ['user.', 'trusted.', 'security.'];

/** The error of Linux for the name of an xattr that no file can have; undefined for all others. */
function refusedName(name: Uint8Array): Errno | undefined {
  const text = Buffer.from(name).toString('latin1');
  const namespace = NAMESPACES.find((prefix) => text.startsWith(prefix));
  if (namespace !== undefined) return text === namespace ? EINVAL : undefined;
  return text.startsWith('system.posix_acl_') ? undefined : EOPNOTSUPP;
}

export function removeXattr(layer: Layer, ino: number, name: Uint8Array, writer: Writer): 0 | Errno {
  if (isPrivateXattr(name)) return EPERM;
  const stored = layer.names.escape(name);
  if (isErrno(stored)) return stored;
  // removing a missing xattr needs no copy
  const present = getXattr(layer, ino, name, undefined);
  if (present === ENODATA) return refusedName(name) ?? (writer.again ? 0 : ENODATA);
  if (isErrno(present)) return present;
  const row = copyUp(layer, ino, 'metadata');
  if (isErrno(row)) return row;
  const place = layer.tree.checkedPlace(row);
  if (isErrno(place)) return place;
  const removed = removeXattrAt(place.dir, place.name, stored);
  if (isErrno(removed)) return removed === ENODATA && writer.again ? 0 : removed;
  if (isAcl(name)) forgetAcl(layer, row);
  return 0;
}
