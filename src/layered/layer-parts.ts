/** The parts of a writable layer. */
import type { ImageFilesystem } from '../fs/image-filesystem.ts';
import type { Identities } from '../manifest/identities.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { ContentSource } from '../objects/content-source.ts';
import type { IdentityTable } from '../upper/identity-table.ts';

/** Settings of a layer; a part of the options of the mount. */
export interface LayerSettings {
  readonly userxattr: boolean;
  /** Whether nothing is changed: work, orphans and claims are -1, and so is the index if there is none. */
  readonly readOnly: boolean;
  /** Whether nothing is synced. */
  readonly volatile: boolean;
  readonly redirectDir: 'on' | 'follow' | 'nofollow';
  readonly metacopy: boolean;
  /** false: a name of a file with several in the image becomes a file of its own when it is copied up. */
  readonly index: boolean;
}

/** Open directories of the upper layer, the same in all threads. */
export interface LayerDirectories {
  readonly upper: number;
  readonly work: number;
  readonly index: number;
  readonly orphans: number;
  readonly claims: number;
}

export interface LayerParts {
  readonly image: ImageFilesystem;
  readonly tables: ManifestTables;
  /** Of a mount that was rebased: what the tables have in place of the image's own; undefined for none. */
  readonly identities?: Identities | undefined;
  readonly directories: LayerDirectories;
  readonly settings: LayerSettings;
  /** Whether the kernel collects writes, and sets the times of the files itself. */
  readonly collects?: boolean;
  /** The instance of this thread; all threads share its memory. */
  readonly table: IdentityTable;
  /** From `allocateLayerState`, once for each server. */
  readonly state: SharedArrayBuffer;
  /** Opens whole objects, verified, so that their blocks can be shared; without it, contents are copied. */
  readonly originals?: Pick<ContentSource, 'open'> | undefined;
  readonly log: (line: string) => void;
  /** Whether the kernel knows this inode. */
  readonly isKnown: (ino: number) => boolean;
}
