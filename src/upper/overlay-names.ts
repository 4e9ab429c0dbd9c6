/**
 * Names that overlayfs has for itself: of xattrs in the upper layer, with the escaping that keeps them apart from
 * those of users (fs/overlayfs/xattrs.c, Linux 6.7), and of entries of the work directory. See docs/writable.md.
 */
import { concatBytes, fromHex, toHex } from '../base/bytes.ts';
import { EINVAL, EOPNOTSUPP, type Errno } from '../base/errno.ts';
import { decodeOverlayHandle, encodeOverlayHandle, type OverlayHandle } from './overlay-format.ts';

/** The xattrs of overlayfs, by the last part of their names. */
const XATTRS = [
  'opaque',
  'redirect',
  'origin',
  'impure',
  'nlink',
  'upper',
  'uuid',
  'metacopy',
  'protattr',
  'whiteout',
] as const;

export type OverlayXattr = (typeof XATTRS)[number];

const XATTR_NAME_MAX = 255;
const ESCAPE = Buffer.from('overlay.');

/** The names of xattrs in one upper layer. */
export class OverlayXattrNames {
  /** Whole names: "trusted.overlay.opaque". */
  readonly names: Readonly<Record<OverlayXattr, Uint8Array>>;
  /** "trusted.overlay." */
  readonly #own: Uint8Array;
  /** "trusted.overlay.overlay." */
  readonly #escaped: Uint8Array;

  /** @param userxattr "user.overlay." instead of "trusted.overlay.", as with the mount option of this name */
  constructor(userxattr: boolean) {
    this.#own = Buffer.from(userxattr ? 'user.overlay.' : 'trusted.overlay.');
    this.#escaped = concatBytes(this.#own, ESCAPE);
    const entries = XATTRS.map((name) => [name, concatBytes(this.#own, Buffer.from(name))]);
    this.names = Object.fromEntries(entries) as Record<OverlayXattr, Uint8Array>;
  }

  /** Whether a name in the layer is the layer's own: users do not see it, and copying up does not copy it. */
  isOwn(stored: Uint8Array): boolean {
    return startsWith(stored, this.#own) && !this.#isEscaped(stored);
  }

  /**
   * The name in the layer of the xattr that a user calls `name`. EOPNOTSUPP if it would be too long, EINVAL for the
   * prefix alone, as Linux.
   */
  escape(name: Uint8Array): Uint8Array | Errno {
    if (!startsWith(name, this.#own)) return name;
    if (name.length === this.#own.length) return EINVAL;
    const escaped = concatBytes(this.#escaped, name.subarray(this.#own.length));
    return escaped.length > XATTR_NAME_MAX ? EOPNOTSUPP : escaped;
  }

  /** The user's name of the xattr `stored` of the layer; undefined if it is the layer's own. */
  unescape(stored: Uint8Array): Uint8Array | undefined {
    if (!startsWith(stored, this.#own)) return stored;
    if (!this.#isEscaped(stored)) return undefined;
    return concatBytes(this.#own, stored.subarray(this.#escaped.length));
  }

  #isEscaped(stored: Uint8Array): boolean {
    return stored.length > this.#escaped.length && startsWith(stored, this.#escaped);
  }
}

function startsWith(name: Uint8Array, prefix: Uint8Array): boolean {
  if (name.length < prefix.length) return false;
  for (let i = 0; i < prefix.length; i++) if (name[i] !== prefix[i]) return false;
  return true;
}

/** The entry of the index for files with this origin: the digits of `struct ovl_fb`. */
export function indexName(origin: OverlayHandle | Uint8Array): Uint8Array {
  return Buffer.from(toHex(origin instanceof Uint8Array ? origin : encodeOverlayHandle(origin)), 'latin1');
}

/** The origin that an entry of the index is named by, as bytes for `decodeOrigin`; undefined for another name. */
export function parseIndexName(name: Uint8Array): Uint8Array | undefined {
  const text = Buffer.from(name).toString('latin1');
  if (!/^(?:[0-9a-f]{2})+$/i.test(text)) return undefined;
  const bytes = fromHex(text);
  return typeof decodeOverlayHandle(bytes) === 'object' ? bytes : undefined;
}

/** Whether an entry of the work directory or the index was left unfinished: "#1a". */
export const isTemporaryName = (name: Uint8Array): boolean => name[0] === 0x23;
