/**
 * The values of overlayfs' xattrs in an upper directory, as bytes: read as Linux reads them, and written byte for byte
 * as Linux writes them. docs/writable.md, "The upper layer's format", is the specification. Nothing here throws for
 * bytes from a disk. Kernel: fs/overlayfs/{overlayfs.h,namei.c,util.c,copy_up.c,dir.c}; little-endian machines.
 */
import { concatBytes, equalBytes } from '../base/bytes.ts';
import { type FileHandle, fuseHandle, fuseIdentity, type InodeIdentity } from '../base/handle-format.ts';
import { S_IFCHR, S_IFMT, S_IFREG } from '../base/stat-bits.ts';

/** A file handle with the file system that it belongs to: the content of `struct ovl_fb`. */
export interface OverlayHandle {
  /** s_uuid of the file system; all 0 for FUSE, and with uuid=off. 16 bytes. */
  readonly uuid: Uint8Array;
  /** OVL_FH_FLAG_PATH_UPPER: the inode is one of the upper layer. */
  readonly isUpper: boolean;
  readonly handle: FileHandle;
}

const MAGIC = 0xfb;
const FLAG_BIG_ENDIAN = 1;
const FLAG_ANY_ENDIAN = 2;
const FLAG_PATH_UPPER = 4;
const KNOWN_FLAGS = FLAG_BIG_ENDIAN | FLAG_ANY_ENDIAN | FLAG_PATH_UPPER;
/** version, magic, len, flags, type, uuid */
const UUID_AT = 5;
const UUID_BYTES = 16;
export const OVERLAY_HANDLE_HEADER: number = UUID_AT + UUID_BYTES;

/** The uuid of a FUSE mount. */
export const NULL_UUID: Uint8Array = new Uint8Array(UUID_BYTES);

/** `struct ovl_fb`. Throws for a handle that it cannot hold: one of more than 128 bytes, or of a type above 0xff. */
export function encodeOverlayHandle({ uuid, isUpper, handle }: OverlayHandle): Uint8Array {
  const { type, bytes } = handle;
  const length = OVERLAY_HANDLE_HEADER + bytes.length;
  if (length > 0xff || type < 0 || type > 0xff || uuid.length !== UUID_BYTES) throw new Error('not a handle of ovl_fb');
  const header = Uint8Array.of(0, MAGIC, length, isUpper ? FLAG_PATH_UPPER : 0, type);
  return concatBytes(header, uuid, bytes);
}

/**
 * The inverse. 'unknown': the file was copied up, and its origin is not known; that is not an error. Undefined:
 * malformed. Linux then logs "invalid origin", and continues as with 'unknown'.
 */
export function decodeOverlayHandle(bytes: Uint8Array): OverlayHandle | 'unknown' | undefined {
  // Linux writes this if the lower file system has no handles
  if (bytes.length === 0) return 'unknown';
  const [version = 0, magic, length = 0, flags = 0, type = 0] = bytes;
  if (bytes.length < OVERLAY_HANDLE_HEADER || bytes.length < length || magic !== MAGIC) return undefined;
  if (version !== 0 || (flags & ~KNOWN_FLAGS) !== 0) return 'unknown';
  if ((flags & (FLAG_BIG_ENDIAN | FLAG_ANY_ENDIAN)) === FLAG_BIG_ENDIAN) return 'unknown';
  if (length < OVERLAY_HANDLE_HEADER) return undefined;
  return {
    uuid: bytes.slice(UUID_AT, OVERLAY_HANDLE_HEADER),
    isUpper: (flags & FLAG_PATH_UPPER) !== 0,
    handle: { type, bytes: bytes.slice(OVERLAY_HANDLE_HEADER, length) },
  };
}

/** The origin of a copied-up file: an inode of a FUSE mount, or a handle that only its own file system understands. */
export type Origin = InodeIdentity | { readonly other: Uint8Array };

/** An origin in a FUSE mount but for the handle. */
const FUSE_HEADER = encodeOverlayHandle({
  uuid: NULL_UUID,
  isUpper: false,
  handle: fuseHandle({ id: 1, generation: 0 }),
}).slice(0, OVERLAY_HANDLE_HEADER);
const FUSE_ORIGIN_BYTES = OVERLAY_HANDLE_HEADER + 12;

/** The `origin` of a copied-up file of a cfs image. */
export function encodeOrigin(id: number, generation: number): Uint8Array {
  return concatBytes(FUSE_HEADER, fuseHandle({ id, generation }).bytes);
}

/**
 * The inverse. `other` is a value that Linux accepts and that names no inode of a FUSE mount: another lower file
 * system, or an empty value, "copied up, origin unknown". Undefined: malformed.
 */
export function decodeOrigin(bytes: Uint8Array): Origin | undefined {
  return fuseOrigin(bytes) ?? anyOrigin(bytes);
}

/** For nearly all values, at each lookup of a copied-up file: 60 ns instead of 480. */
function fuseOrigin(bytes: Uint8Array): InodeIdentity | undefined {
  if (bytes.length !== FUSE_ORIGIN_BYTES) return undefined;
  for (let i = 0; i < OVERLAY_HANDLE_HEADER; i++) if (bytes[i] !== FUSE_HEADER[i]) return undefined;
  const id = wordAt(bytes, OVERLAY_HANDLE_HEADER) * 0x1_0000_0000 + wordAt(bytes, OVERLAY_HANDLE_HEADER + 4);
  return Number.isSafeInteger(id) ? { id, generation: wordAt(bytes, OVERLAY_HANDLE_HEADER + 8) } : undefined;
}

function wordAt(bytes: Uint8Array, at: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}

function anyOrigin(bytes: Uint8Array): Origin | undefined {
  const decoded = decodeOverlayHandle(bytes);
  if (decoded === undefined) return undefined;
  if (decoded === 'unknown' || decoded.isUpper || !equalBytes(decoded.uuid, NULL_UUID)) return { other: bytes };
  const identity = fuseIdentity(decoded.handle);
  if (identity === undefined || !Number.isSafeInteger(identity.id)) return { other: bytes };
  return { id: identity.id, generation: identity.generation };
}

const YES = 0x79;
const XATTR_WHITEOUTS = 0x78;

/** `opaque` of a directory of which nothing below is seen; also `impure`. */
export const Y: Uint8Array = Uint8Array.of(YES);

/** `opaque` of a directory with whiteouts that are xattrs. */
export const X: Uint8Array = Uint8Array.of(XATTR_WHITEOUTS);

/** 'opaque': nothing below the directory is seen. 'xattr-whiteouts': as 'merged', and whiteouts may be xattrs. */
export type Opacity = 'opaque' | 'xattr-whiteouts' | 'merged';

/** The value of `opaque`. Linux ignores every other. */
export function decodeOpaque(value: Uint8Array): Opacity {
  if (value.length !== 1) return 'merged';
  if (value[0] === YES) return 'opaque';
  return value[0] === XATTR_WHITEOUTS ? 'xattr-whiteouts' : 'merged';
}

/** The value of `impure`: the directory has entries whose inode numbers are those of their origins. */
export const decodeImpure = (value: Uint8Array): boolean => value.length === 1 && value[0] === YES;

/** A whiteout as Linux makes it: a character device 0:0. @param rdev in any encoding */
export const isWhiteout = (mode: number, rdev: number): boolean => (mode & S_IFMT) === S_IFCHR && rdev === 0;

/** Whether the file is a whiteout if it has the xattr `whiteout`, of any value. */
export const mayBeXattrWhiteout = (mode: number, size: number): boolean => (mode & S_IFMT) === S_IFREG && size === 0;

/** A copied-up file without its data, which is that of the lower file. */
export interface Metacopy {
  readonly flags: number;
  /** FS_VERITY_HASH_ALG_* of the digest that the lower file must have; 0: none. */
  readonly algorithm: number;
  /** The fs-verity digest; empty if `algorithm` is 0. */
  readonly digest: Uint8Array;
}

const METACOPY_HEADER = 4;
export const PLAIN_METACOPY: Metacopy = { flags: 0, algorithm: 0, digest: new Uint8Array() };

/** `struct ovl_metacopy`: empty if it would say nothing. */
export function encodeMetacopy({ flags, algorithm, digest }: Metacopy): Uint8Array {
  if (flags === 0 && algorithm === 0) return new Uint8Array();
  return concatBytes(Uint8Array.of(0, METACOPY_HEADER + digest.length, flags, algorithm), digest);
}

/**
 * Undefined for a value that Linux answers with EIO. Without verity= Linux checks only for a length below 4; an unknown
 * version, or another length than the value says, is refused here nevertheless.
 */
export function decodeMetacopy(value: Uint8Array): Metacopy | undefined {
  if (value.length === 0) return PLAIN_METACOPY;
  const [version, length, flags = 0, algorithm = 0] = value;
  if (value.length < METACOPY_HEADER || version !== 0 || length !== value.length) return undefined;
  return { flags, algorithm, digest: value.slice(METACOPY_HEADER) };
}

/** The links of an indexed file: a difference to st_nlink of the upper or of the lower file. */
export interface RelativeNlink {
  readonly to: 'upper' | 'lower';
  readonly difference: number;
}

const S32_MAX = 0x7fffffff;
const S32_MIN = -0x80000000;
/** Linux reads into a buffer of this size. */
const MAX_NLINK_BYTES = 12;

/** "U+0", "L-1" */
export function encodeNlink({ to, difference }: RelativeNlink): Uint8Array {
  return Buffer.from(`${to === 'upper' ? 'U' : 'L'}${difference < 0 ? '' : '+'}${difference}`, 'latin1');
}

/** Undefined if Linux would log "failed to get index nlink" and use st_nlink of the file itself. */
export function decodeNlink(value: Uint8Array): RelativeNlink | undefined {
  if (value.length > MAX_NLINK_BYTES) return undefined;
  const [, layer, number] = /^([UL])([+-][0-9]+)\n?$/.exec(Buffer.from(value).toString('latin1')) ?? [];
  if (layer === undefined) return undefined;
  const difference = Number(number);
  if (difference > S32_MAX || difference < S32_MIN) return undefined;
  return { to: layer === 'U' ? 'upper' : 'lower', difference: difference + 0 };
}

/** The links that a user sees. Undefined if that is not positive: Linux then uses st_nlink, as without a value. */
export function applyNlink(
  { to, difference }: RelativeNlink,
  upperNlink: number,
  lowerNlink: number,
): number | undefined {
  const nlink = (to === 'upper' ? upperNlink : lowerNlink) + difference;
  return nlink > 0 && nlink <= S32_MAX ? nlink : undefined;
}

/** The place of the lower file or directory of one that was moved. */
export interface Redirect {
  /** From the root of the layer; else in the lower directories of the upper file's own directory, by one name. */
  readonly isAbsolute: boolean;
  /** At least one; none is empty, "." or "..", none has a slash or NUL. */
  readonly names: readonly Uint8Array[];
}

/** `redirect_max` of the kernel module: it makes no longer ones, the rename fails with EXDEV. It reads longer ones. */
export const MAX_REDIRECT_BYTES = 256;

const SLASH = 0x2f;

/** Undefined for a value for which Linux fails the lookup (EINVAL; EACCES for "." and ".."). */
export function decodeRedirect(value: Uint8Array): Redirect | undefined {
  const isAbsolute = value[0] === SLASH;
  const names: Uint8Array[] = [];
  for (let at = isAbsolute ? 1 : 0; at <= value.length; ) {
    const slash = value.indexOf(SLASH, at);
    const end = slash < 0 ? value.length : slash;
    names.push(value.slice(at, end));
    at = end + 1;
  }
  return names.every(isName) && (isAbsolute || names.length === 1) ? { isAbsolute, names } : undefined;
}

/**
 * The inverse. Undefined if it is longer than Linux would write: then rename(2) of the directory fails with EXDEV.
 * Throws for invalid names.
 */
export function encodeRedirect({ isAbsolute, names }: Redirect): Uint8Array | undefined {
  if (!names.every(isName) || (isAbsolute ? names.length < 1 : names.length !== 1)) throw new Error('not a redirect');
  const slash = Uint8Array.of(SLASH);
  const value = isAbsolute ? concatBytes(...names.flatMap((name) => [slash, name])) : (names[0] as Uint8Array);
  return value.length > MAX_REDIRECT_BYTES ? undefined : value;
}

function isName(name: Uint8Array): boolean {
  if (name.length === 0 || name.includes(SLASH) || name.includes(0)) return false;
  return !(name.length <= 2 && name.every((byte) => byte === 0x2e));
}

/** Flags of chattr(1) that are kept beside the file, because the upper file could not be changed with them. */
export interface ProtectedAttributes {
  readonly append: boolean;
  readonly immutable: boolean;
}

/** The value of `protattr`: "a", "i", "ai". Undefined: the xattr is removed. */
export function encodeProtectedAttributes({ append, immutable }: ProtectedAttributes): Uint8Array | undefined {
  const text = `${append ? 'a' : ''}${immutable ? 'i' : ''}`;
  return text === '' ? undefined : Buffer.from(text, 'latin1');
}

const MAX_PROTATTR_BYTES = 32;

/** Undefined for a value that Linux logs as "incompatible overlay.protattr format", and ignores. */
export function decodeProtectedAttributes(value: Uint8Array): ProtectedAttributes | undefined {
  const text = Buffer.from(value).toString('latin1');
  if (value.length > MAX_PROTATTR_BYTES || !/^[ai]+$/.test(text)) return undefined;
  return { append: text.includes('a'), immutable: text.includes('i') };
}

/** The value of `uuid` on the root: the identity of the overlay, 16 bytes. Undefined for a value that Linux ignores. */
export const decodeUuid = (value: Uint8Array): Uint8Array | undefined =>
  value.length === UUID_BYTES ? value : undefined;
