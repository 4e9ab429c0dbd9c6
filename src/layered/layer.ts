/** A writable layer over an image, as one thread sees it: the parts that all its operations share. */

import { ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import type { ImageFilesystem } from '../fs/image-filesystem.ts';
import type { InodeEvents } from '../fs/writable-filesystem.ts';
import { Identities } from '../manifest/identities.ts';
import { lookupDirent, rowOfId } from '../manifest/lookup.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';
import { emptyFileStatus, type FileStatus } from '../system/file-status.ts';
import type { IdentityTable } from '../upper/identity-table.ts';
import { encodeOrigin, type Origin } from '../upper/overlay-format.ts';
import { type ImageName, ImageNames } from './image-names.ts';
import type { LayerDirectories, LayerParts, LayerSettings } from './layer-parts.ts';
import { LayerState } from './layer-state.ts';
import { LayerXattrNames } from './layer-xattrs.ts';
import { LinkNames } from './link-names.ts';
import { UpperTree } from './upper-tree.ts';

/** Walks of the whole upper layer (scan.ts), for files that the table does not have. */
export interface Search {
  /**
   * Adopts entries, all of them if the table has room, and at least the one with this id. ENOENT if there is none;
   * another error if the walk did not see all.
   */
  id(layer: Layer, ino: number): 0 | Errno;
  /** Finds the names of a row whose file is not at the place in the table. Errors as above. */
  row(layer: Layer, row: number): 0 | Errno;
  /** As `Layer.confirm`. */
  confirm(layer: Layer, ino: number, mayWalk: boolean): 0 | Errno;
  /** As `Layer.isShown`. */
  isShown(layer: Layer, dirent: number): boolean | Errno;
}

const NO_EVENTS: InodeEvents = { unnamed: () => undefined, forgotten: () => undefined };

export class Layer {
  readonly image: ImageFilesystem;
  readonly tables: ManifestTables;
  readonly identities: Identities;
  readonly table: IdentityTable;
  readonly directories: LayerDirectories;
  readonly settings: LayerSettings;
  readonly state: LayerState;
  readonly names: LayerXattrNames;
  readonly tree: UpperTree;
  /** As in LayerParts. */
  readonly collects: boolean;
  readonly imageNames: ImageNames;
  /** Undefined with an index. */
  readonly linkNames: LinkNames | undefined;
  readonly originals: LayerParts['originals'];
  readonly log: (line: string) => void;
  readonly isKnown: (ino: number) => boolean;
  /** Filled by each stat of a file of the upper layer. */
  readonly status: FileStatus = emptyFileStatus();
  events: InodeEvents = NO_EVENTS;
  readonly #search: Search;

  constructor(parts: LayerParts, search: Search) {
    this.#search = search;
    this.image = parts.image;
    this.tables = parts.tables;
    this.identities = parts.identities ?? new Identities();
    this.table = parts.table;
    this.directories = parts.directories;
    this.settings = parts.settings;
    this.state = new LayerState(parts.state);
    this.names = new LayerXattrNames(parts.settings.userxattr, (origin) => this.originIn(origin));
    const searchFor = (row: number): 0 | Errno => search.row(this, row);
    const origin = (id: number, generation: number): Uint8Array => this.originFor(id, generation);
    this.tree = new UpperTree(parts.table, parts.directories, this.state, searchFor, origin, parts.settings.readOnly);
    this.collects = parts.collects ?? false;
    this.imageNames = new ImageNames(parts.tables);
    this.linkNames = parts.settings.index ? undefined : new LinkNames(parts.tables);
    this.originals = parts.originals;
    this.log = parts.log;
    this.isKnown = parts.isKnown;
  }

  /** The xattr `origin` for an inode of the image; also the name of its entry in the index, as bytes. */
  originFor(id: number, generation: number): Uint8Array {
    const own = this.identities.inImage({ id, generation });
    return encodeOrigin(own.id, own.generation);
  }

  /** The inode that an xattr `origin` names, by its identity in the mount. */
  originIn(origin: Origin | undefined): Origin | undefined {
    return origin === undefined || 'other' in origin ? origin : this.identities.inMount(origin);
  }

  /** The id of an inode of the image. */
  idOf(lower: number): number {
    return u64(this.tables.inodes.id, lower);
  }

  /** The image's inode of an id, its row in the tables; -1 for none. */
  rowInImage(ino: number): number {
    const row = rowOfId(this.tables, ino);
    const { linkNames } = this;
    if (linkNames === undefined) return row;
    if (row >= 0) return linkNames.hasSeveral(row) ? -1 : row;
    const dirent = linkNames.direntOf(ino);
    return dirent === undefined ? -1 : (this.tables.dirents.inode[dirent] as number);
  }

  /** The id in the image of an inode that it has. */
  idInImage(ino: number): number {
    return this.linkNames?.direntOf(ino) === undefined ? ino : this.idOf(this.rowInImage(ino));
  }

  /** The id of the image's inode `lower` at this name in the directory `parent` of the image. */
  idAtName(parent: number, name: Uint8Array, lower: number): number {
    const { linkNames } = this;
    if (linkNames?.hasSeveral(lower) !== true) return this.idOf(lower);
    return linkNames.idOf(lookupDirent(this.tables, parent, name)) ?? this.idOf(lower);
  }

  /** One name in the image of an inode that it has; undefined for the root. */
  nameInImage(ino: number): ImageName | undefined {
    const dirent = this.linkNames?.direntOf(ino);
    return dirent === undefined ? this.imageNames.nameOf(this.rowInImage(ino)) : this.imageNames.nameAt(dirent);
  }

  /**
   * Looks whether there is such an inode: the table or the image has it, or a search of the upper layer finds it.
   * ENOENT if there is none; another error if that is not known.
   */
  find(ino: number): 0 | Errno {
    if (this.table.find(ino) >= 0 || this.rowInImage(ino) >= 0) return 0;
    const row = this.rowAfterScan(ino);
    return isErrno(row) ? row : 0;
  }

  /**
   * Called before an inode is used that was not looked up in this mount: makes sure that the row that an earlier mount
   * has left for it, if there is one, is that of its file. Otherwise the row is removed, or is that of another file.
   * @param mayWalk false: only the place is looked at that the row names, and the row may stay as it is
   * @returns an error if that is not known
   */
  confirm(ino: number, mayWalk: boolean): 0 | Errno {
    return this.#search.confirm(this, ino, mayWalk);
  }

  /** Whether a name of the image is seen in the mount, with the inode that it has there or with its copy. */
  isShown(dirent: number): boolean | Errno {
    return this.#search.isShown(this, dirent);
  }

  /** The row of an id that the table does not have, after a search of the upper layer. Errors as those of `find`. */
  rowAfterScan(ino: number): number | Errno {
    if (this.state.isComplete || ino === ROOT_INO) return ENOENT;
    const found = this.#search.id(this, ino);
    return isErrno(found) ? found : this.table.find(ino);
  }
}
