/** Compares a file of the upper layer with an inode of the image. */
import { equalBytes } from '../../base/bytes.ts';
import { isErrno } from '../../base/errno.ts';
import { isPrivateXattr } from '../../base/private-xattrs.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../base/stat-bits.ts';
import type { WritableAttributes } from '../../fs/writable-filesystem.ts';
import { CONTENT, LINKS, MODE, MTIME, OWNER, TYPE, XATTRS } from '../../manifest/diff/aspects.ts';
import { linkTarget, xattrsOf } from '../../manifest/lookup.ts';
import { NONE, u64 } from '../../manifest/tables.ts';
import { readLinkAt } from '../../system/directory-calls.ts';
import { getXattrAt, listXattrsAt } from '../../system/xattr-calls.ts';
import { METACOPY } from '../../upper/identity-table.ts';
import type { Layer } from '../layer.ts';
import { lowerOf } from '../layer-rows.ts';
import type { Place } from '../upper-tree.ts';

/**
 * The aspects in which a file differs from the inode `lower` of the image, as bits. The bytes of a regular file with
 * data of its own are not read: it has other content.
 * @param place of the file in the upper layer
 * @param names the user's xattrs of the file: `userXattrs`
 */
export function differences(
  layer: Pick<Layer, 'tables' | 'table' | 'names'>,
  lower: number,
  row: number,
  attributes: WritableAttributes,
  place: Place,
  names: readonly Uint8Array[],
): number {
  const { mode, uid, gid, nlink, mtime, mtimeNsec } = layer.tables.inodes;
  const { mode: now } = attributes;
  const changed = (mode[lower] as number) ^ now;
  let bits = 0;
  if ((changed & ~S_IFMT) !== 0) bits |= MODE;
  if (uid[lower] !== attributes.uid || gid[lower] !== attributes.gid) bits |= OWNER;
  const isSameTime =
    mtimeNsec[lower] === attributes.mtimeNsec &&
    mtime[lower * 2] === attributes.mtimeLow >>> 0 &&
    mtime[lower * 2 + 1] === attributes.mtimeHigh >>> 0;
  if (!isSameTime) bits |= MTIME;
  if (haveOtherXattrs(layer, lower, place, names)) bits |= XATTRS;
  if ((changed & S_IFMT) !== 0) return bits | TYPE;
  if ((now & S_IFMT) !== S_IFDIR && nlink[lower] !== attributes.nlink) bits |= LINKS;
  return hasSameContent(layer, lower, row, attributes, place) ? bits : bits | CONTENT;
}

function hasSameContent(
  layer: Pick<Layer, 'tables' | 'table'>,
  lower: number,
  row: number,
  { mode, size, rdev }: WritableAttributes,
  { dir, name }: Place,
): boolean {
  const { tables, table } = layer;
  const { inodes } = tables;
  switch (mode & S_IFMT) {
    case S_IFREG: {
      if ((table.flags(row) & METACOPY) === 0) return size === 0 && u64(inodes.size, lower) === 0;
      const data = lowerOf(table, row);
      // equal contents are one object
      return data === lower || (data >= 0 && inodes.payload[data] === inodes.payload[lower]);
    }
    case S_IFLNK: {
      const target = readLinkAt(dir, name);
      return !isErrno(target) && equalBytes(target, linkTarget(tables, lower));
    }
    case S_IFCHR:
    case S_IFBLK:
      return inodes.rdev[lower] === rdev;
    default:
      return true;
  }
}

/** The names in the layer of the xattrs that users see. */
export function userXattrs({ names }: Layer, { dir, name }: Place): Uint8Array[] {
  const list = listXattrsAt(dir, name);
  if (isErrno(list)) return [];
  const found: Uint8Array[] = [];
  for (let at = 0; at < list.length; ) {
    const end = list.indexOf(0, at);
    const stored = list.subarray(at, end);
    at = end + 1;
    if (!isPrivateXattr(stored) && names.unescape(stored) !== undefined) found.push(stored);
  }
  return found;
}

function haveOtherXattrs(
  { tables, names }: Pick<Layer, 'tables' | 'names'>,
  lower: number,
  { dir, name }: Place,
  stored: readonly Uint8Array[],
): boolean {
  if (tables.inodes.xattrs[lower] === NONE) return stored.length > 0;
  const before = xattrsOf(tables, lower).filter(([key]) => !isPrivateXattr(key));
  if (before.length !== stored.length) return true;
  return stored.some((one) => {
    const key = names.unescape(one);
    const old = key && before.find(([known]) => equalBytes(known, key));
    const value = getXattrAt(dir, name, one);
    return old === undefined || isErrno(value) || !equalBytes(old[1], value);
  });
}
