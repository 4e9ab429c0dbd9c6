/** The layer's own xattrs on a file of the upper directory. */

import { EACCES, ENODATA, type Errno, isErrno } from '../base/errno.ts';
import type { InodeIdentity } from '../base/handle-format.ts';
import { PERMISSIONS, S_IFDIR, S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import { chmodAt } from '../system/directory-calls.ts';
import { getXattrAt, listXattrsAt, setXattrAt } from '../system/xattr-calls.ts';
import {
  decodeMetacopy,
  decodeOpaque,
  decodeOrigin,
  decodeRedirect,
  type Metacopy,
  type Opacity,
  type Origin,
  type Redirect,
} from '../upper/overlay-format.ts';
import { OverlayXattrNames } from '../upper/overlay-names.ts';

/** The decoded xattrs of a file. */
export interface LayerXattrs {
  /** Undefined: none, or malformed. */
  readonly origin: Origin | undefined;
  readonly opacity: Opacity;
  readonly isImpure: boolean;
  readonly redirect: Redirect | 'malformed' | undefined;
  readonly metacopy: Metacopy | 'malformed' | undefined;
  /** The identity of a file that was made here. */
  readonly own: InodeIdentity | undefined;
  readonly isIndexed: boolean;
}

const NOTHING: LayerXattrs = {
  origin: undefined,
  opacity: 'merged',
  isImpure: false,
  redirect: undefined,
  metacopy: undefined,
  own: undefined,
  isIndexed: false,
};

/** The xattr with the capabilities of a program. */
export const CAPABILITIES: Uint8Array = Buffer.from('security.capability');

/**
 * fuse-overlayfs of an ordinary user, with which podman made containers, has this in place of "user.overlay.opaque". A
 * user that can set it can as well remove all that it hides: so says xattr_permission() of Linux.
 */
export const OPAQUE_OF_FUSE_OVERLAYFS: Uint8Array = Buffer.from('user.fuseoverlayfs.opaque');

const ID_BYTES = 12;
const S_IWUSR = 0o200;
const TWO_TO_32 = 0x1_0000_0000;
const TWO_TO_20 = 0x10_0000;

/** The value of the xattr with the id of a file that was made here: the id in 8 bytes, the generation in 4. */
export const encodeIdentity = (identity: InodeIdentity): Uint8Array => fillIdentity(identity).slice();

const identityWords = new Uint32Array(ID_BYTES / 4);
const identityBytes = new Uint8Array(identityWords.buffer);

/** As `encodeIdentity`, in bytes that the next call fills again. */
function fillIdentity({ id, generation }: InodeIdentity): Uint8Array {
  identityWords[0] = id;
  identityWords[1] = Math.floor(id / TWO_TO_32);
  identityWords[2] = generation;
  return identityBytes;
}

/** The inverse; undefined for another value. */
export function decodeIdentity(value: Uint8Array): InodeIdentity | undefined {
  if (value.length !== ID_BYTES) return undefined;
  const [low = 0, high = 0, generation = 0] = new Uint32Array(value.slice().buffer);
  const id = high * TWO_TO_32 + low;
  return high < TWO_TO_20 && id > 1 ? { id, generation } : undefined;
}

export class LayerXattrNames extends OverlayXattrNames {
  /** "trusted.cfs.id" */
  readonly id: Uint8Array;
  /** Its xattrs exist only on files and directories. */
  readonly isOfUsers: boolean;
  /** The inode that an xattr `origin` names, by its identity in the mount. */
  readonly originIn: (origin: Origin | undefined) => Origin | undefined;

  /** @param originIn undefined if a mount has the image's identities */
  constructor(userxattr: boolean, originIn: LayerXattrNames['originIn'] = (origin) => origin) {
    super(userxattr);
    this.originIn = originIn;
    this.isOfUsers = userxattr;
    this.id = Buffer.from(userxattr ? 'user.cfs.id' : 'trusted.cfs.id');
  }

  /** Whether a file of this mode can have the layer's xattrs. */
  isPossible(mode: number): boolean {
    const type = mode & S_IFMT;
    return !this.isOfUsers || type === S_IFREG || type === S_IFDIR;
  }
}

/** Reads the layer's xattrs of a file. */
export function readLayerXattrs(
  names: LayerXattrNames,
  dir: number,
  name: Uint8Array,
  mode: number,
): LayerXattrs | Errno {
  if (!names.isPossible(mode)) return NOTHING;
  const list = listXattrsAt(dir, name);
  if (isErrno(list)) return list;
  if (list.length === 0) return NOTHING;
  const text = Buffer.from(list).toString('latin1');
  const get = <T>(key: Uint8Array, decode: (value: Uint8Array) => T): T | Errno | undefined => {
    const named = Buffer.from(key).toString('latin1');
    if (!text.startsWith(`${named}\0`) && !text.includes(`\0${named}\0`)) return undefined;
    const value = getXattrAt(dir, name, key);
    if (value === ENODATA) return undefined;
    return isErrno(value) ? value : decode(value);
  };
  const own = names.names;
  const origin = get(own.origin, (value) => names.originIn(decodeOrigin(value)));
  const opacity =
    get(own.opaque, decodeOpaque) ?? (names.isOfUsers ? get(OPAQUE_OF_FUSE_OVERLAYFS, decodeOpaque) : undefined);
  const redirect = get(own.redirect, (value) => decodeRedirect(value) ?? 'malformed');
  const metacopy = get(own.metacopy, (value) => decodeMetacopy(value) ?? 'malformed');
  const identity = get(names.id, decodeIdentity);
  const indexed = get(own.nlink, () => true);
  const impure = get(own.impure, () => true);
  for (const one of [origin, opacity, redirect, metacopy, identity, indexed, impure]) if (isErrno(one)) return one;
  return {
    origin: origin as Origin | undefined,
    opacity: (opacity as Opacity | undefined) ?? 'merged',
    isImpure: impure === true,
    redirect: redirect as LayerXattrs['redirect'],
    metacopy: metacopy as LayerXattrs['metacopy'],
    own: identity as InodeIdentity | undefined,
    isIndexed: indexed === true,
  };
}

/**
 * Notes the id of a file that was made here; does nothing for a file that cannot have xattrs.
 * @param mode of the file, which an ordinary user may have to change for it
 */
export function writeIdentity(
  names: LayerXattrNames,
  dir: number,
  name: Uint8Array,
  mode: number,
  identity: InodeIdentity,
): 0 | Errno {
  if (!names.isPossible(mode)) return 0;
  const value = fillIdentity(identity);
  const set = setXattrAt(dir, name, names.id, value, 0);
  if (set !== EACCES) return set;
  const opened = chmodAt(dir, name, (mode & PERMISSIONS) | S_IWUSR);
  if (isErrno(opened)) return opened;
  const again = setXattrAt(dir, name, names.id, value, 0);
  const closed = chmodAt(dir, name, mode & PERMISSIONS);
  return isErrno(again) ? again : closed;
}
