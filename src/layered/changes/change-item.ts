/** One difference between the image and what is seen through the upper layer. docs/changes.md defines the words. */
import { emptyWritableAttributes, type WritableAttributes } from '../../fs/writable-filesystem.ts';

export type ChangeKind = 'added' | 'removed' | 'changed' | 'renamed';

export interface ChangeItem {
  readonly kind: ChangeKind;
  /** Bits of manifest/diff/aspects.ts; for a regular file CONTENT may mean that it was not compared. */
  readonly what: number;
  /** The place now; of one that was removed, the place where it would be. */
  readonly path: Uint8Array;
  /** The place in the image; undefined if it was added. */
  readonly old: Uint8Array | undefined;
  /** Of one that was removed only `ino`, `generation` and `mode`: those in the image. */
  readonly attributes: WritableAttributes;
  /** The inode of the image with its content, or with entries that are seen through it; 0 for none. */
  readonly lower: number;
  /** Its inode number in the upper layer; 0 for one that was removed. */
  readonly upper: number;
  /** It is open for writing, or may be mapped: it may change at any time. */
  readonly isChanging: boolean;
  /** Since the earlier call: names in it may have come and gone. */
  readonly hasOtherNames: boolean;
  /** Since the earlier call: it was moved here, with all that is below. */
  readonly isMoved: boolean;
  /** Of one that was removed: the file has another name now, which is listed as renamed. */
  readonly isElsewhere: boolean;
  /** Xattrs for users beside those that its inode in the image has, or others. */
  readonly hasXattrs: boolean;
}

/** A copy of attributes that are filled again and again. */
export const copyOf = (attributes: WritableAttributes): WritableAttributes => ({ ...attributes });

/** Attributes of an entry that is gone. */
export function goneAttributes(ino: number, generation: number, mode: number): WritableAttributes {
  return Object.assign(emptyWritableAttributes(), { ino, shownIno: ino, generation, mode });
}
