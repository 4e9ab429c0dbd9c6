/** What is packed: a stream of entries, whatever they are read from. */
import type { InodeMetadata } from '../manifest/builder.ts';

/** Number of an entry in the order of the stream; the root is 0. */
export type EntryNumber = number;

/** The content of a regular file, open for reading. Whoever takes it closes `fd`. */
export interface OpenContent {
  readonly fd: number;
  /** Bytes, when it was opened. */
  readonly size: number;
  /** st_dev of the file. */
  readonly device: number;
  /** st_ctime in ms, as node's Stats has it, when it was opened: another value after reading means that the file changed. */
  readonly ctimeMs: number;
}

/** One link of the tree. A directory comes before what is in it. */
export interface SourceEntry {
  readonly parent: EntryNumber;
  readonly name: Uint8Array;
  /** For messages: absolute or relative as the source was given. */
  readonly path: Uint8Array;
  /** What the link points to: a new inode, or one that an earlier entry has brought (a further hard link). */
  readonly inode:
    | { readonly kind: 'link'; readonly to: EntryNumber }
    | { readonly kind: 'new'; readonly metadata: InodeMetadata }
    | { readonly kind: 'symlink'; readonly metadata: InodeMetadata; readonly target: Uint8Array }
    | { readonly kind: 'regular'; readonly metadata: InodeMetadata; readonly content: OpenContent };
}

export interface Source {
  readonly root: InodeMetadata;
  /** May be walked once. Ending it early closes what it holds open. */
  entries(): Generator<SourceEntry>;
}
