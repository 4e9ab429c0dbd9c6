/**
 * Contents of files. These calls run beside each other: the lock is held to find the file, and is free while data is
 * read or written, through a descriptor of this thread.
 */

import { constants } from 'node:fs';
import { EINVAL, EIO, EISDIR, ENOENT, ENOSYS, ENXIO, type Errno, ESTALE, isErrno } from '../base/errno.ts';
import { PERMISSIONS, S_IFMT, S_IFREG, S_ISGID, S_ISUID, S_IXGRP } from '../base/stat-bits.ts';
import { ROOT_INO } from '../fs/filesystem.ts';
import type { OpenedContent, WritableAttributes } from '../fs/writable-filesystem.ts';
import { rowOfId } from '../manifest/lookup.ts';
import { u64 } from '../manifest/tables.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { chmodAt } from '../system/directory-calls.ts';
import { copyFileRange, fallocateFd, syncFd, truncateFd, writeAll } from '../system/file-content-calls.ts';
import { emptyFileStatus, statusOf } from '../system/file-status.ts';
import { pread, SEEK_DATA, SEEK_HOLE, seek as seekFd, syncfs } from '../system/reading-writing.ts';
import { removeXattrAt } from '../system/xattr-calls.ts';
import { DIRECTORY, METACOPY, UPPER } from '../upper/identity-table.ts';
import { dropAttributes, ttlOf } from './attributes.ts';
import { noteWritten } from './change-marks.ts';
import { ALL, copyUp } from './copy-up.ts';
import { isDirectoryMode } from './directories.ts';
import type { Layer } from './layer.ts';
import { lowerOf, MAPPABLE } from './layer-rows.ts';
import { CAPABILITIES } from './layer-xattrs.ts';

const O_ACCMODE = 3;
const DOT: Uint8Array = Uint8Array.of(0x2e);
const EMPTY: Uint8Array = Uint8Array.of();
const IN_IMAGE: OpenedContent = { fd: -1 };
const COPY_BYTES = 1 << 20;

/** As `WritableFilesystem.opensAtOnce`. */
export function opensAtOnce({ table }: Layer, ino: number, flags: number): boolean {
  if ((flags & (O_ACCMODE | constants.O_TRUNC)) === constants.O_RDONLY) return true;
  const row = table.find(ino);
  return row >= 0 && (table.flags(row) & (UPPER | METACOPY)) === UPPER;
}

/** As `WritableFilesystem.open`. */
export function openFile(layer: Layer, ino: number, flags: number, killPrivileges: boolean): OpenedContent | Errno {
  const isTruncated = (flags & constants.O_TRUNC) !== 0;
  const isForWriting = (flags & O_ACCMODE) !== constants.O_RDONLY || isTruncated;
  const regular = requireRegular(layer, ino);
  if (isErrno(regular)) return regular;
  if (!isForWriting) return openToRead(layer, ino);
  const row = copyUp(layer, ino, isTruncated ? 0 : ALL);
  if (isErrno(row)) return row;
  noteMappable(layer, row, flags);
  noteWritten(layer, row);
  const opened = layer.tree.openContent(row, true);
  if (isErrno(opened)) return opened;
  // with O_CREAT, which OPEN never has, the kernel does not know that the file was there: it sets no time
  const setsTime = layer.collects && (flags & constants.O_CREAT) === 0;
  const cut = (): 0 | Errno => truncate(opened.fd, 0, killPrivileges);
  const truncated = !isTruncated ? 0 : setsTime ? keepingTimeOf(layer, ino, opened.fd, cut) : cut();
  if (!isErrno(truncated)) return { fd: opened.fd };
  closeFd(opened.fd);
  return truncated;
}

/** The content of a file that was just made, `out` being its attributes. */
export function openNew(layer: Layer, row: number, flags: number, out: WritableAttributes): OpenedContent | Errno {
  noteMappable(layer, row, flags, out);
  noteWritten(layer, row);
  return layer.tree.openContent(row, true);
}

/** A file is opened with these flags: it may be mapped for writing. @param out its attributes, if they are known */
export function noteMappable(layer: Layer, row: number, flags: number, out?: WritableAttributes): void {
  if ((flags & O_ACCMODE) !== constants.O_RDWR) return;
  const { table } = layer;
  const isNew = (table.flags(row) & MAPPABLE) === 0;
  table.setFlags(row, MAPPABLE, 0);
  if (out !== undefined) out.ttl = ttlOf(layer, row, table.flags(row), out.mode);
  // the kernel drops the attributes that it may keep forever
  else if (isNew) dropAttributes(layer, table.id(row));
}

function requireRegular(layer: Layer, ino: number): 0 | Errno {
  const row = layer.table.find(ino);
  if (row >= 0 && (layer.table.flags(row) & UPPER) !== 0) {
    if ((layer.table.flags(row) & DIRECTORY) !== 0) return EISDIR;
    // the kernel asks only for regular files; others fail when they are opened
    return 0;
  }
  const lower = layer.rowInImage(ino);
  if (lower < 0) return layer.find(ino);
  const mode = layer.tables.inodes.mode[lower] as number;
  if ((mode & S_IFMT) === S_IFREG) return 0;
  return isDirectoryMode(mode) ? EISDIR : EINVAL;
}

function openToRead(layer: Layer, ino: number): OpenedContent | Errno {
  const row = layer.table.find(ino);
  if (row < 0) return IN_IMAGE;
  if ((layer.table.flags(row) & (UPPER | METACOPY)) !== UPPER) return IN_IMAGE;
  const opened = layer.tree.openContent(row, false);
  return isErrno(opened) ? (opened === ESTALE ? ENOENT : opened) : { fd: opened.fd };
}

/** ftruncate(2), and removal of the bits that it removes for a process without CAP_FSETID. */
export function truncate(fd: number, size: number, killPrivileges: boolean): 0 | Errno {
  const result = truncateFd(fd, size);
  // copying up may have made it as short before
  if (isErrno(result) && (isErrno(statusOf(fd, privileges)) || privileges.size !== size)) return result;
  if (!killPrivileges) return 0;
  return dropPrivileges(fd);
}

const privileges = emptyFileStatus();

/** Removes set-id bits and capabilities of an open file, as a write of an ordinary process does. */
export function dropPrivileges(fd: number): 0 | Errno {
  const looked = statusOf(fd, privileges);
  if (isErrno(looked)) return looked;
  const { mode } = privileges;
  const isGroup = (mode & (S_ISGID | S_IXGRP)) === (S_ISGID | S_IXGRP);
  const kept = mode & PERMISSIONS & ~S_ISUID & ~(isGroup ? S_ISGID : 0);
  const changed = kept === (mode & PERMISSIONS) ? 0 : chmodAt(fd, EMPTY, kept);
  if (isErrno(changed)) return changed;
  removeXattrAt(fd, EMPTY, CAPABILITIES);
  return 0;
}

/** The place of an inode's content: a descriptor, or an inode of the image. */
type Source = { readonly fd: number } | { readonly image: number };

function sourceOf(layer: Layer, ino: number): Source | Errno {
  return layer.state.hold(() => {
    layer.tree.tidy();
    const { table, tables } = layer;
    const known = layer.find(ino);
    if (isErrno(known)) return known;
    const row = table.find(ino);
    if (row < 0 || (table.flags(row) & UPPER) === 0) return { image: layer.idInImage(ino) };
    if ((table.flags(row) & METACOPY) !== 0) {
      const lower = lowerOf(table, row);
      return lower < 0 ? EIO : { image: u64(tables.inodes.id, lower) };
    }
    const fd = layer.tree.content(row, false);
    return isErrno(fd) ? fd : { fd };
  });
}

/**
 * Changes the content of a file, without the lock.
 * @param change gets a descriptor
 */
function changeContent(layer: Layer, ino: number, change: (fd: number) => number | Errno): number | Errno {
  let kept: number | undefined;
  const { state } = layer;
  const fd = state.hold(() => {
    layer.tree.tidy();
    const row = copyUp(layer, ino, ALL);
    const content = isErrno(row) ? row : layer.tree.content(row, true);
    if (layer.collects && !isErrno(content)) kept = state.times.begin(ino, content);
    return content;
  });
  if (isErrno(fd)) return fd;
  try {
    return change(fd);
  } finally {
    const place = kept;
    if (place !== undefined) state.hold(() => state.times.end(place, fd));
  }
}

/** As `changeContent`, under the lock. */
function keepingTimeOf({ state }: Layer, ino: number, fd: number, change: () => 0 | Errno): 0 | Errno {
  const kept = state.times.begin(ino, fd);
  const changed = change();
  if (kept !== undefined) state.times.end(kept, fd);
  return changed;
}

export function readFile(layer: Layer, ino: number, offset: number, into: Uint8Array): number | Errno {
  const source = sourceOf(layer, ino);
  if (isErrno(source)) return source;
  if ('image' in source) return layer.image.read(source.image, 0, offset, into);
  for (let done = 0; done < into.length; ) {
    const read = pread(source.fd, into.subarray(done), into.length - done, offset + done);
    if (isErrno(read)) return done > 0 ? done : read;
    if (read === 0) return done;
    done += read;
  }
  return into.length;
}

export function writeFile(
  layer: Layer,
  ino: number,
  offset: number,
  bytes: Uint8Array,
  killPrivileges: boolean,
): number | Errno {
  return changeContent(layer, ino, (fd) => {
    const written = writeAll(fd, bytes, offset);
    if (isErrno(written) || !killPrivileges) return written;
    const dropped = dropPrivileges(fd);
    return isErrno(dropped) ? dropped : written;
  });
}

export function allocateIn(layer: Layer, ino: number, mode: number, offset: number, length: number): 0 | Errno {
  return changeContent(layer, ino, (fd) => {
    const result = fallocateFd(fd, mode, offset, length);
    return isErrno(result) ? result : dropPrivileges(fd);
  }) as 0 | Errno;
}

let copyBuffer: Buffer | undefined;

/** As `WritableFilesystem.copyRange`. */
export function copyRange(
  layer: Layer,
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  length: number,
): number | Errno {
  return changeContent(layer, to, (target) => {
    const source = sourceOf(layer, from);
    if (isErrno(source)) return source;
    const copied =
      'fd' in source
        ? copyFileRange(source.fd, fromOffset, target, toOffset, length)
        : copyFromImage(layer, source.image, fromOffset, target, toOffset, length);
    if (isErrno(copied)) return copied;
    const dropped = dropPrivileges(target);
    return isErrno(dropped) ? dropped : copied;
  });
}

function copyFromImage(
  layer: Layer,
  ino: number,
  fromOffset: number,
  target: number,
  toOffset: number,
  length: number,
): number | Errno {
  copyBuffer ??= Buffer.allocUnsafeSlow(COPY_BYTES);
  const read = layer.image.read(ino, 0, fromOffset, copyBuffer.subarray(0, Math.min(length, COPY_BYTES)));
  return isErrno(read) || read === 0 ? read : writeAll(target, copyBuffer.subarray(0, read), toOffset);
}

/** As `Filesystem.seek`; never ENOSYS, after which the kernel would not ask for the other files either. */
export function seekIn(layer: Layer, ino: number, offset: number, hole: boolean): number | Errno {
  const source = sourceOf(layer, ino);
  if (isErrno(source)) return source;
  if ('fd' in source) return seekFd(source.fd, offset, hole ? SEEK_HOLE : SEEK_DATA);
  const found = layer.image.seek(source.image, offset, hole);
  if (found !== ENOSYS) return found;
  const size = u64(layer.tables.inodes.size, rowOfId(layer.tables, source.image));
  if (offset >= size) return ENXIO;
  return hole ? size : offset;
}

/** As `WritableFilesystem.sync`. The root stands for all: syncfs(2) does not reach a FUSE mount. */
export function syncInode(layer: Layer, ino: number, dataOnly: boolean): 0 | Errno {
  if (layer.settings.volatile) return 0;
  const opened = layer.state.hold(() => {
    layer.tree.tidy();
    const row = layer.table.find(ino);
    if (row < 0 || (layer.table.flags(row) & UPPER) === 0) return undefined;
    if ((layer.table.flags(row) & DIRECTORY) !== 0) {
      const dir = layer.tree.directory(ino);
      return isErrno(dir) ? dir : openAt(dir, DOT, constants.O_RDONLY | constants.O_DIRECTORY);
    }
    const content = layer.tree.openContent(row, false);
    return isErrno(content) ? content : content.fd;
  });
  if (opened === undefined) return 0;
  if (isErrno(opened)) return opened;
  try {
    return ino === ROOT_INO ? syncfs(opened) : syncFd(opened, dataOnly);
  } finally {
    closeFd(opened);
  }
}
