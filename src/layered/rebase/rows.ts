/** The files of an upper layer in a rebase: those that stay, and those that go. */

/** A file that stays in the upper layer. */
export interface KeptRow {
  readonly row: number;
  /** Whether the new image has the inode, by the identity that it has in the mount. */
  readonly isInImage: boolean;
  /** By its id in the new image: the directory that is merged with it, or the file that has its data; 0 for none. */
  readonly lower: number;
}

/** A file that is that of the new image from now on. */
export interface DroppedRow {
  readonly row: number;
  /** The kernel may have pages that are older than what was written to the file. */
  readonly isOutdated: boolean;
}

/** A reason why a path cannot be kept. */
export interface Refusal {
  readonly path: Uint8Array;
  readonly why: string;
}
