/**
 * Directories that a caller may list, and whose names it may know: it may read the directory, and search all
 * directories on the way. Judged by modes alone, as `maySearchTo`: membership in a group and ACL entries count as no
 * permission.
 */
import { isErrno } from '../../base/errno.ts';
import type { Caller } from '../../fs/caller.ts';
import { ROOT_INO } from '../../fs/filesystem.ts';
import { emptyWritableAttributes } from '../../fs/writable-filesystem.ts';
import { parentOfDirectory } from '../../manifest/lookup.ts';
import { u64 } from '../../manifest/tables.ts';
import { attributesOf } from '../attributes.ts';
import type { Layer } from '../layer.ts';
import { parentOf } from '../listing.ts';
import { getXattr } from '../metadata.ts';

const READ = 4;
const SEARCH = 1;
const ACL: Uint8Array = Buffer.from('system.posix_acl_access');

export class Sight {
  readonly #layer: Layer;
  readonly #caller: Caller;
  /** Permission bits, by inode. */
  readonly #known = new Map<number, number>();
  readonly #attributes = emptyWritableAttributes();

  /** For one call under the lock. */
  constructor(layer: Layer, caller: Caller) {
    this.#layer = layer;
    this.#caller = caller;
  }

  /** Whether it may list a directory that is visible. */
  mayList(ino: number): boolean {
    if (this.#caller.uid === 0) return true;
    if ((this.#permissions(ino) & READ) === 0) return false;
    for (let at = ino; ; at = parentOf(this.#layer, at)) {
      if ((this.#permissions(at) & SEARCH) === 0) return false;
      if (at === ROOT_INO) return true;
    }
  }

  /** The same for a directory of the image that is gone, and those above it up to `top`. */
  mayListGone(row: number, top: number): boolean {
    if (this.#caller.uid === 0) return true;
    if ((this.#ofImage(row) & READ) === 0) return false;
    for (let at = row; ; at = parentOfDirectory(this.#layer.tables, at)) {
      if ((this.#ofImage(at) & SEARCH) === 0) return false;
      if (at === top || at === 0) return true;
    }
  }

  #permissions(ino: number): number {
    const known = this.#known.get(ino);
    if (known !== undefined) return known;
    const looked = attributesOf(this.#layer, ino, this.#attributes);
    const { uid, mode } = this.#attributes;
    const found = isErrno(looked) ? 0 : this.#bits(ino, uid, mode);
    this.#known.set(ino, found);
    return found;
  }

  #ofImage(row: number): number {
    const { id, uid, mode } = this.#layer.tables.inodes;
    return this.#bits(u64(id, row), uid[row] as number, mode[row] as number);
  }

  #bits(ino: number, uid: number, mode: number): number {
    if (uid === this.#caller.uid) return (mode >> 6) & 7;
    const isInImage = this.#layer.rowInImage(ino) >= 0 && this.#layer.table.find(ino) < 0;
    const acl = isInImage ? this.#layer.image.getxattr(ino, ACL) : getXattr(this.#layer, ino, ACL, undefined);
    return isErrno(acl) ? mode & (mode >> 3) & 7 : 0;
  }
}
