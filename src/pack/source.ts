/** The input of packing: a stream of entries from any origin. */
import type { ContentDigest } from '../base/digest.ts';
import type { InodeMetadata } from '../manifest/builder.ts';
import type { FileState } from './file-state.ts';

/** Number of an entry in the order of the stream; the root is 0. */
export type EntryNumber = number;

/** The content of a regular file, open for reading. The receiver closes `fd`. */
export interface OpenContent {
  readonly fd: number;
  /** The state of the file when it was found. If it differs after reading, the file changed or was replaced. */
  readonly state: FileState;
}

/** The identity of a file system in the kernel: st_dev and f_fsid. */
export interface FileSystemId {
  readonly device: number;
  /** The two words of f_fsid. */
  readonly id: readonly [number, number];
}

/**
 * A state of a file: as long as all of this is the same, so is its content. docs/repository.md says how reliable that
 * is.
 */
export interface FileStamp {
  readonly fileSystem: FileSystemId;
  readonly inode: number;
  readonly size: number;
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
}

/** A content that need not be read: an object that the repository has, or bytes for the image itself. */
export interface KnownContent {
  readonly content: ContentDigest;
  readonly inline?: Uint8Array;
  /** That of an inode with this content. */
  readonly generation: number;
}

/** The content of a regular file. */
export interface FileContent {
  readonly size: number;
  readonly known?: KnownContent | undefined;
  /** Undefined if the file system does not promise that a changed file has another ctime. */
  readonly stamp: FileStamp | undefined;
  /**
   * Opens the file, before the next entry is requested.
   * @throws CfsError (source)
   */
  open(): OpenContent;
}

/** One link of the tree. A directory comes before its entries. */
export interface SourceEntry {
  readonly parent: EntryNumber;
  readonly name: Uint8Array;
  /** For messages: absolute, or relative like the given source. */
  readonly path: Uint8Array;
  /** The target of the link: a new inode, or that of an earlier entry (a further hard link). */
  readonly inode:
    | { readonly kind: 'link'; readonly to: EntryNumber }
    | { readonly kind: 'new'; readonly metadata: InodeMetadata }
    | { readonly kind: 'symlink'; readonly metadata: InodeMetadata; readonly target: Uint8Array }
    | { readonly kind: 'regular'; readonly metadata: InodeMetadata; readonly content: FileContent };
}

export interface Source {
  readonly root: InodeMetadata;
  /** Identifies the source, in letters, digits and dashes; the same source has the same name in the next run. */
  readonly name: string;
  /**
   * The entries except the root. May be walked once; ending it early closes its open files. A source that waits for its
   * entries, as for a network, is an AsyncIterable.
   */
  entries(): Iterable<SourceEntry> | AsyncIterable<SourceEntry>;

  /**
   * Called when all contents have been read.
   * @throws CfsError (source) if the source changed meanwhile
   */
  finish?(): void;

  /** Called once, at the end or after an error. */
  close?(): void;
}

/** A source whose entries are available immediately. */
export interface SyncSource extends Source {
  entries(): Iterable<SourceEntry>;
}
