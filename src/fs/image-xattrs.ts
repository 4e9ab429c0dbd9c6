/** The xattrs in an image, as a mount shows them. */
import { equalBytes } from '../base/bytes.ts';
import { ENODATA, EOPNOTSUPP, type Errno } from '../base/errno.ts';
import { isOverlayXattr, isPrivateXattr } from '../base/private-xattrs.ts';
import { xattrsOf } from '../manifest/lookup.ts';
import { type ManifestTables, NONE } from '../manifest/tables.ts';
import { type Caller, mayListTrusted } from './caller.ts';

const NUL = Uint8Array.of(0);
const NO_NAMES = new Uint8Array();
const aclPrefix = Buffer.from('system.posix_acl_');
const trustedPrefix = Buffer.from('trusted.');
const selinuxName = Buffer.from('security.selinux');

/** Whether the name of some xattr contains `part`, in latin1. */
function hasXattrNamed(tables: ManifestTables, part: string): boolean {
  const { names } = tables.xattrs;
  return Buffer.from(names.buffer, names.byteOffset, names.length).includes(part, 0, 'latin1');
}

/** Whether any inode has an ACL. */
export const hasAcls = (tables: ManifestTables): boolean => hasXattrNamed(tables, aclPrefix.toString('latin1'));

const startsWith = (name: Uint8Array, prefix: Buffer): boolean => prefix.equals(name.subarray(0, prefix.length));

export class ImageXattrs {
  readonly #tables: ManifestTables;
  readonly #acls: boolean;
  readonly #labels: boolean;
  readonly #hideOverlay: boolean;

  /**
   * @param acls of `hasAcls`
   * @param hideOverlay no `trusted.overlay.*` and `user.overlay.*`
   */
  constructor(tables: ManifestTables, acls: boolean, hideOverlay: boolean) {
    this.#tables = tables;
    this.#acls = acls;
    this.#labels = hasXattrNamed(tables, selinuxName.toString('latin1'));
    this.#hideOverlay = hideOverlay;
  }

  /** The value of an xattr of inode `row`, unless its name is private. */
  get(row: number, name: Uint8Array): Uint8Array | Errno {
    if (this.#hideOverlay && isOverlayXattr(name)) return ENODATA;
    for (const [key, value] of xattrsOf(this.#tables, row)) if (equalBytes(key, name)) return value;
    return this.#isUnsupported(name) ? EOPNOTSUPP : ENODATA;
  }

  /**
   * Whether no inode has an ACL, or an SELinux label. The answer is then that of a file system without them: ls(1) asks
   * for no other file's, while it would otherwise ask for each. This does not work for other attributes: getcap(8)
   * would complain about each file.
   */
  #isUnsupported(name: Uint8Array): boolean {
    return (!this.#acls && startsWith(name, aclPrefix)) || (!this.#labels && selinuxName.equals(name));
  }

  /** The names of inode `row`, each with a NUL. */
  list(row: number, caller: Caller): Uint8Array {
    // as for nearly every inode: copying a tree asks for each
    if (this.#tables.inodes.xattrs[row] === NONE) return NO_NAMES;
    const parts: Uint8Array[] = [];
    let listsTrusted: boolean | undefined;
    for (const [key] of xattrsOf(this.#tables, row)) {
      if (isPrivateXattr(key) || (this.#hideOverlay && isOverlayXattr(key))) continue;
      if (startsWith(key, trustedPrefix)) {
        listsTrusted ??= mayListTrusted(caller);
        if (!listsTrusted) continue;
      }
      parts.push(key, NUL);
    }
    return Buffer.concat(parts);
  }
}
