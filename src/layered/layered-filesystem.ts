/**
 * A writable file system: an image, and an upper layer with all changes, in the format of overlayfs. Methods find their
 * inodes and names under the lock of the layer; the modules beside this one do the work.
 */

import { printable } from '../base/bytes.ts';
import { ENAMETOOLONG, type Errno, isErrno } from '../base/errno.ts';
import { isPrivateXattr } from '../base/private-xattrs.ts';
import { S_IFDIR, S_IFLNK } from '../base/stat-bits.ts';
import type { Caller } from '../fs/caller.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import type {
  Changes,
  InodeEvents,
  OpenedContent,
  WritableAttributes,
  WritableFilesystem,
  WritableStatistics,
  Writer,
} from '../fs/writable-filesystem.ts';
import { closeFd } from '../system/descriptors.ts';
import { readLinkAt } from '../system/directory-calls.ts';
import { statVfs } from '../system/file-status.ts';
import { syncfs } from '../system/reading-writing.ts';
import type { SalvagedRow } from '../upper/table-salvage.ts';
import { attributesOf } from './attributes.ts';
import { beginLayer } from './begin-layer.ts';
import { changing } from './change-marks.ts';
import {
  allocateIn,
  copyRange,
  openFile,
  openNew,
  opensAtOnce,
  readFile,
  seekIn,
  syncInode,
  writeFile,
} from './content.ts';
import { makeFile, makeNameless } from './create.ts';
import { createFile } from './create-open.ts';
import { Layer } from './layer.ts';
import { type LayerIoctls, layerIoctl } from './layer-ioctls.ts';
import type { LayerParts } from './layer-parts.ts';
import { cleanAfterServer, SEARCH } from './layer-search.ts';
import { linkFile } from './link-file.ts';
import { Listings } from './listing.ts';
import { lookupEntry } from './lookup.ts';
import { changeAttributes, getXattr, listXattrs, removeXattr, setXattr, upperPlaceOf } from './metadata.ts';
import { LayerOpenTable } from './open-table.ts';
import { letGo, letGoOfClosed } from './orphans.ts';
import { namesTo } from './paths.ts';
import { privateXattr } from './private-answers.ts';
import { rebuildTable } from './rebuild-table.ts';
import { removeDirectoryName, removeFileName } from './remove.ts';
import { rename } from './rename.ts';

const NAME_MAX = 255;
const O_RDWR = 2;

export class LayeredFilesystem implements WritableFilesystem {
  /** Opens and backing ids of the inodes, for the kernel driver. */
  readonly openTable: LayerOpenTable;
  readonly #layer: Layer;
  readonly #listings: Listings;
  readonly #ioctls: LayerIoctls | undefined;

  /** @param ioctls those about the layer as a whole */
  constructor(parts: LayerParts, ioctls?: LayerIoctls) {
    this.#ioctls = ioctls;
    this.#layer = new Layer(parts, SEARCH);
    this.openTable = new LayerOpenTable(this.#layer);
    this.#listings = new Listings(this.#layer);
  }

  /** The driver is notified from now on. */
  listen(events: InodeEvents): void {
    this.#layer.events = events;
  }

  /** Called by the first thread of the first server of a mount, before the first request. Nothing is open. */
  begin(): void {
    this.#layer.state.hold(() => beginLayer(this.#layer));
  }

  /** Called before `resume` if the table of the last server was damaged: fills the new one. May take long. */
  rebuild(salvaged: readonly SalvagedRow[]): void {
    this.#layer.state.hold(() => rebuildTable(this.#layer, this.openTable, salvaged));
  }

  /**
   * Called by the first thread of a later server, before the first request: deletes what the last one left unfinished,
   * and inodes that the kernel has forgotten in the meantime.
   */
  resume(): void {
    this.#layer.state.hold(() => cleanAfterServer(this.#layer));
  }

  lookup(parent: number, name: Uint8Array, out: WritableAttributes): Errno | 0 {
    return this.#hold((layer) => lookupEntry(layer, parent, name, out));
  }

  getattr(ino: number, out: WritableAttributes): Errno | 0 {
    return this.#hold((layer) => attributesOf(layer, ino, out));
  }

  readdir(
    ino: number,
    from: number,
    _plus: boolean,
    out: WritableAttributes,
    sink: (name: Uint8Array, next: number) => boolean,
  ): Errno | 0 {
    return this.#hold(() => this.#listings.list(ino, from, out, sink));
  }

  releaseDirectory(ino: number): void {
    this.#listings.forget(ino);
  }

  readlink(ino: number): Uint8Array | Errno {
    return this.#hold((layer) => {
      const place = upperPlaceOf(layer, ino);
      if (place === undefined) return layer.image.readlink(layer.idInImage(ino));
      return isErrno(place) ? place : readLinkAt(place.dir, place.name);
    });
  }

  getxattr(ino: number, name: Uint8Array, caller?: Caller): Uint8Array | Errno {
    // the mount answers it, not a file
    if (isPrivateXattr(name)) return privateXattr(this.#layer, ino, name, caller);
    return this.#hold((layer) => getXattr(layer, ino, name, caller));
  }

  listxattr(ino: number, caller?: Caller): Uint8Array | Errno {
    return this.#hold((layer) => listXattrs(layer, ino, caller));
  }

  setxattr(
    ino: number,
    name: Uint8Array,
    value: Uint8Array,
    flags: number,
    killSgid: boolean,
    writer: Writer,
  ): Errno | 0 {
    return this.#change([ino], (layer) => setXattr(layer, ino, name, value, flags, killSgid, writer));
  }

  removexattr(ino: number, name: Uint8Array, writer: Writer): Errno | 0 {
    return this.#change([ino], (layer) => removeXattr(layer, ino, name, writer));
  }

  mknod(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdev: number,
    writer: Writer,
    out: WritableAttributes,
  ): Errno | 0 {
    return this.#make(parent, name, { mode, rdev }, writer, out);
  }

  mkdir(parent: number, name: Uint8Array, mode: number, writer: Writer, out: WritableAttributes): Errno | 0 {
    return this.#make(parent, name, { mode: S_IFDIR | mode, rdev: 0 }, writer, out);
  }

  symlink(parent: number, name: Uint8Array, target: Uint8Array, writer: Writer, out: WritableAttributes): Errno | 0 {
    return this.#make(parent, name, { mode: S_IFLNK | 0o777, rdev: 0, target }, writer, out);
  }

  #make(
    parent: number,
    name: Uint8Array,
    file: Parameters<typeof makeFile>[3],
    writer: Writer,
    out: WritableAttributes,
  ): Errno | 0 {
    if (name.length > NAME_MAX) return ENAMETOOLONG;
    const row = this.#change([parent], (layer) => makeFile(layer, parent, name, file, writer, out));
    return isErrno(row) ? row : 0;
  }

  create(
    parent: number,
    name: Uint8Array,
    mode: number,
    flags: number,
    writer: Writer,
    out: WritableAttributes,
  ): OpenedContent | Errno {
    if (name.length > NAME_MAX) return ENAMETOOLONG;
    return this.#opening(() =>
      this.#change([parent], (layer) => createFile(layer, parent, name, mode, flags, writer, out)),
    );
  }

  tmpfile(parent: number, mode: number, writer: Writer, out: WritableAttributes): OpenedContent | Errno {
    return this.#opening(() =>
      this.#hold((layer) => {
        const row = makeNameless(layer, parent, mode, writer, out);
        return isErrno(row) ? row : openNew(layer, row, O_RDWR, out);
      }),
    );
  }

  link(ino: number, parent: number, name: Uint8Array, writer: Writer, out: WritableAttributes): Errno | 0 {
    if (name.length > NAME_MAX) return ENAMETOOLONG;
    return this.#change([ino, parent], (layer) => linkFile(layer, ino, parent, name, writer, out));
  }

  unlink(parent: number, name: Uint8Array, writer: Writer): Errno | 0 {
    return this.#change([parent], (layer) => removeFileName(layer, parent, name, writer));
  }

  rmdir(parent: number, name: Uint8Array, writer: Writer): Errno | 0 {
    return this.#change([parent], (layer) => removeDirectoryName(layer, parent, name, writer));
  }

  rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
    writer: Writer,
  ): Errno | 0 {
    if (newName.length > NAME_MAX) return ENAMETOOLONG;
    return this.#change([parent, newParent], (layer) => rename(layer, parent, name, newParent, newName, flags, writer));
  }

  setattr(ino: number, changes: Changes, _writer: Writer, out: WritableAttributes): Errno | 0 {
    return this.#change([ino], (layer) => changeAttributes(layer, ino, changes, out));
  }

  opensAtOnce(ino: number, flags: number): boolean {
    return this.#hold((layer) => opensAtOnce(layer, ino, flags));
  }

  open(ino: number, flags: number, killPrivileges: boolean): OpenedContent | Errno {
    return this.#opening(() => this.#hold((layer) => openFile(layer, ino, flags, killPrivileges)));
  }

  closeContent({ fd }: OpenedContent): void {
    this.#layer.state.addOpening(-1);
    if (fd >= 0) closeFd(fd);
  }

  closed(ino: number): void {
    this.#hold((layer) => letGoOfClosed(layer, ino));
  }

  read(ino: number, offset: number, into: Uint8Array): number | Errno {
    return readFile(this.#layer, ino, offset, into);
  }

  write(ino: number, offset: number, bytes: Uint8Array, killPrivileges: boolean): number | Errno {
    return writeFile(this.#layer, ino, offset, bytes, killPrivileges);
  }

  fallocate(ino: number, mode: number, offset: number, length: number): Errno | 0 {
    return allocateIn(this.#layer, ino, mode, offset, length);
  }

  copyRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): number | Errno {
    return copyRange(this.#layer, from, fromOffset, to, toOffset, length);
  }

  seek(ino: number, offset: number, hole: boolean): number | Errno {
    return seekIn(this.#layer, ino, offset, hole);
  }

  sync(ino: number, dataOnly: boolean): Errno | 0 {
    return syncInode(this.#layer, ino, dataOnly);
  }

  syncAll(): Errno | 0 {
    return this.#layer.settings.volatile ? 0 : syncfs(this.#layer.directories.upper);
  }

  forget(ino: number): void {
    if (ino !== ROOT_INO) this.#hold((layer) => letGo(layer, ino));
  }

  ioctl(ino: number, command: number, input: Uint8Array, room: number, caller?: Caller): Uint8Array | Errno {
    return layerIoctl(this.#layer, this.#ioctls, ino, command, input, room, caller);
  }

  statfs(): WritableStatistics {
    const status = statVfs(this.#layer.directories.upper);
    if (isErrno(status)) return { ...this.#layer.image.statfs(), blocksFree: 0, blocksAvailable: 0, filesFree: 0 };
    return status;
  }

  /** One path of an inode, escaped; undefined if it has none. */
  pathOf(ino: number): string | undefined {
    const names = this.#hold((layer) => namesTo(layer, ino));
    return names && `/${names.map(printable).join('/')}`;
  }

  /** As `#hold`, for a change of these inodes, or of names in them. */
  #change<T>(inodes: readonly number[], work: (layer: Layer) => T): T {
    return this.#hold((layer) => changing(layer, inodes, () => work(layer)));
  }

  /** For an open that succeeds, `closeContent` is called when it is counted. */
  #opening(open: () => OpenedContent | Errno): OpenedContent | Errno {
    const { state } = this.#layer;
    let isOpened = false;
    state.addOpening(1);
    try {
      const opened = open();
      isOpened = !isErrno(opened);
      return opened;
    } finally {
      if (!isOpened) state.addOpening(-1);
    }
  }

  /** Runs an operation under the lock of the layer. */
  #hold<T>(work: (layer: Layer) => T): T {
    const layer = this.#layer;
    return layer.state.hold(() => {
      layer.tree.tidy();
      return work(layer);
    });
  }
}
