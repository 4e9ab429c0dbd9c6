/** Copying the verified content of a file of the image into one of the upper layer. */

import { EIO, ENXIO, type Errno, isErrno } from '../base/errno.ts';
import { objectName, objectOf, rowOfId } from '../manifest/lookup.ts';
import { u64 } from '../manifest/tables.ts';
import { BY_BLOCKS } from '../objects/content-source.ts';
import { closeFd } from '../system/descriptors.ts';
import { setTimesAt } from '../system/directory-calls.ts';
import { copySparse, syncFd, truncateFd, writeAll } from '../system/file-content-calls.ts';
import { emptyFileStatus, statusOf } from '../system/file-status.ts';
import type { Layer } from './layer.ts';

const CHUNK = 1 << 20;
/** Bytes of a file whose blocks are worth sharing. */
const LEAST_SHARED = 1 << 16;
const EMPTY: Uint8Array = Uint8Array.of();
let buffer: Buffer | undefined;

/**
 * Copies the first `size` bytes of inode `ino` of the image to the file `fd`, which has no more afterwards; holes stay
 * holes. All of it is verified before or while it is copied, and is on the disk afterwards, except in a volatile mount.
 * May take long.
 */
export function copyContent(layer: Layer, ino: number, fd: number, size: number): 0 | Errno {
  const copied = copyOriginal(layer, ino, fd, size) ?? copyBlocks(layer, ino, fd, size);
  if (isErrno(copied)) return copied;
  return layer.settings.volatile ? 0 : syncFd(fd, false);
}

/** A file that is copied as a whole shares the blocks of its object if the file system can. Undefined: not possible. */
function copyOriginal(layer: Layer, ino: number, fd: number, size: number): 0 | Errno | undefined {
  const { tables, originals, image } = layer;
  const row = rowOfId(tables, ino);
  const object = objectOf(tables, row);
  if (originals === undefined || size < LEAST_SHARED || object < 0 || u64(tables.inodes.size, row) !== size) {
    return undefined;
  }
  const original = originals.open(objectName(tables, object), () => image.pathOf(ino) ?? '');
  if (original === BY_BLOCKS) return undefined;
  if (isErrno(original)) return original;
  const copied = copySparse(original, fd, size);
  closeFd(original);
  return copied;
}

/** By blocks, each of which is verified as it is read. */
function copyBlocks(layer: Layer, ino: number, fd: number, size: number): 0 | Errno {
  const { image } = layer;
  buffer ??= Buffer.allocUnsafeSlow(CHUNK);
  const sized = truncateFd(fd, size);
  if (isErrno(sized)) return sized;
  for (let at = 0; at < size; ) {
    const data = image.seek(ino, at, false);
    if (data === ENXIO) break;
    // ENOSYS: no file of the image has holes
    if (!isErrno(data)) at = data;
    const hole = isErrno(data) ? size : image.seek(ino, at, true);
    const end = Math.min(isErrno(hole) ? size : hole, size);
    while (at < end) {
      const read = image.read(ino, 0, at, buffer.subarray(0, Math.min(CHUNK, end - at)));
      if (isErrno(read)) return read;
      if (read === 0) return EIO;
      const written = writeAll(fd, buffer.subarray(0, read), at);
      if (isErrno(written)) return written;
      at += read;
    }
  }
  return 0;
}

/**
 * Gives a directory of the upper layer an entry by `work`, and sets its time again: no user sees a copy that is made.
 * @param fd of the directory
 */
export function keepingTime(fd: number, work: () => 0 | Errno): 0 | Errno {
  const status = emptyFileStatus();
  const looked = statusOf(fd, status);
  if (isErrno(looked)) return looked;
  const done = work();
  // the entry is there: an error of this, as on a file system without room, is not one of the copy
  if (!isErrno(done)) {
    const { mtimeLow: low, mtimeHigh: high, mtimeNsec: nsec } = status;
    setTimesAt(fd, EMPTY, undefined, { low, high, nsec });
  }
  return done;
}
