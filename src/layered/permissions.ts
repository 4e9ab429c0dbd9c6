/** Default ACLs of directories, and the umask. */
import { type Errno, isErrno } from '../base/errno.ts';
import { getXattrAt, setXattrAt } from '../system/xattr-calls.ts';
import type { Directory } from './directories.ts';
import type { Layer } from './layer.ts';
import { ACL_KNOWN, DEFAULT_ACL } from './layer-rows.ts';

const EMPTY: Uint8Array = Uint8Array.of();
export const ACL_ACCESS: Uint8Array = Buffer.from('system.posix_acl_access');
export const ACL_DEFAULT: Uint8Array = Buffer.from('system.posix_acl_default');

/** The default ACL of a directory of the upper layer; undefined if it has none. */
function defaultAcl(layer: Layer, { fd, row }: Directory): Uint8Array | undefined {
  const { table } = layer;
  const flags = table.flags(row);
  if ((flags & ACL_KNOWN) !== 0 && (flags & DEFAULT_ACL) === 0) return undefined;
  const value = getXattrAt(fd, EMPTY, ACL_DEFAULT);
  const has = !isErrno(value);
  table.setFlags(row, ACL_KNOWN | (has ? DEFAULT_ACL : 0), has ? 0 : DEFAULT_ACL);
  return has ? value : undefined;
}

/** Called when an ACL of the directory was changed. */
export const forgetAcl = (layer: Layer, row: number): void => layer.table.setFlags(row, 0, ACL_KNOWN | DEFAULT_ACL);

export const hasDefaultAcl = (layer: Layer, directory: Directory): boolean =>
  defaultAcl(layer, directory) !== undefined;

/** The mode for a new file: a umask counts only in a directory without a default ACL. */
export const modeFor = (layer: Layer, parent: Directory, mode: number, umask: number): number =>
  defaultAcl(layer, parent) === undefined ? mode & ~umask : mode;

/**
 * Sets the default ACL that a file made in the work directory would have inherited in its own directory. The ACL then
 * limits the mode of the file, as in posix_acl_create() of the kernel.
 * @param mode of the new file, as requested
 * @returns the mode that it is to have
 */
export function inheritAcl(
  layer: Layer,
  parent: Directory,
  dir: number,
  name: Uint8Array,
  mode: number,
  isDirectory: boolean,
): number | Errno {
  const acl = defaultAcl(layer, parent);
  if (acl === undefined) return mode;
  const limited = limitAcl(acl, mode);
  if (limited === undefined) return mode;
  const set = setXattrAt(dir, name, ACL_ACCESS, limited.acl, 0);
  if (isErrno(set)) return set;
  const passed = isDirectory ? setXattrAt(dir, name, ACL_DEFAULT, acl, 0) : 0;
  return isErrno(passed) ? passed : limited.mode;
}

/** struct posix_acl_xattr_header, then struct posix_acl_xattr_entry: tag, perm, id (linux/posix_acl_xattr.h) */
const HEADER = 4;
const ENTRY = 8;
const ACL_USER_OBJ = 1;
const ACL_GROUP_OBJ = 4;
const ACL_MASK = 0x10;
const ACL_OTHER = 0x20;

/** The access ACL of a new file with this mode, and its mode (posix_acl_create_masq); undefined for another format. */
export function limitAcl(
  acl: Uint8Array,
  mode: number,
): { readonly acl: Uint8Array; readonly mode: number } | undefined {
  if (acl.length < HEADER || (acl.length - HEADER) % ENTRY !== 0) return undefined;
  const limited = Uint8Array.from(acl);
  const view = new DataView(limited.buffer);
  const tags = new Map<number, number>();
  for (let at = HEADER; at < limited.length; at += ENTRY) tags.set(view.getUint16(at, true), at + 2);
  const at = (tag: number): number | undefined => tags.get(tag);
  let result = mode;
  const limit = (entry: number | undefined, shift: number): void => {
    if (entry === undefined) return;
    const permissions = view.getUint16(entry, true) & (result >> shift) & 7;
    view.setUint16(entry, permissions, true);
    result = (result & ~(7 << shift)) | (permissions << shift);
  };
  limit(at(ACL_USER_OBJ), 6);
  limit(at(ACL_OTHER), 0);
  limit(at(ACL_MASK) ?? at(ACL_GROUP_OBJ), 3);
  return { acl: limited, mode: result };
}
