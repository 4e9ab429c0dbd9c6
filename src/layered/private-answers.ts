/** The mount's own answers about an inode: private xattrs, and ioctls. They may take long, and hold no lock. */
import { ENODATA, ENOTTY, type Errno, isErrno } from '../base/errno.ts';
import { S_IFMT, S_IFREG } from '../base/stat-bits.ts';
import type { Caller } from '../fs/caller.ts';
import type { UpperInode } from '../fs/image-filesystem.ts';
import { emptyWritableAttributes, type WritableAttributes } from '../fs/writable-filesystem.ts';
import { METACOPY, UPPER } from '../upper/identity-table.ts';
import { attributesOf } from './attributes.ts';
import type { Layer } from './layer.ts';
import { lowerOf } from './layer-rows.ts';

/** The inode that an answer is about: of the image, of the upper layer, or both. */
interface Subject {
  /** Of the image's tables, -1 for none. */
  readonly row: number;
  /** Undefined if its content is in the image. */
  readonly upper: UpperInode | undefined;
}

const attributes: WritableAttributes = emptyWritableAttributes();

export function privateXattr(
  layer: Layer,
  ino: number,
  name: Uint8Array,
  caller: Caller | undefined,
): Uint8Array | Errno {
  const subject = layer.state.hold(() => subjectOf(layer, ino));
  if (isErrno(subject)) return subject;
  return layer.image.answers?.xattr(subject.row, name, caller, subject.upper) ?? ENODATA;
}

export function privateIoctl(
  layer: Layer,
  ino: number,
  command: number,
  input: Uint8Array,
  room: number,
  caller: Caller | undefined,
): Uint8Array | Errno {
  const subject = layer.state.hold(() => subjectOf(layer, ino));
  if (isErrno(subject)) return subject;
  return layer.image.answers?.ioctl(subject.row, command, input, room, caller, subject.upper) ?? ENOTTY;
}

function subjectOf(layer: Layer, ino: number): Subject | Errno {
  const result = attributesOf(layer, ino, attributes);
  if (isErrno(result)) return result;
  const { table } = layer;
  const row = layer.rowInImage(ino);
  const own = table.find(ino);
  const flags = own < 0 ? 0 : table.flags(own);
  if ((flags & UPPER) === 0) return { row, upper: undefined };
  if ((flags & METACOPY) !== 0) return { row: row < 0 ? lowerOf(table, own) : row, upper: undefined };
  const { generation, size, mode } = attributes;
  return { row, upper: { ino, generation, size, isRegular: (mode & S_IFMT) === S_IFREG } };
}
