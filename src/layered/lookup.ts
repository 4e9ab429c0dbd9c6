/** Looking a name up, as the kernel does. */
import { ENAMETOOLONG, type Errno, isErrno } from '../base/errno.ts';
import type { WritableAttributes } from '../fs/writable-filesystem.ts';
import { attributesOf, completeImage, fillFrom, upperAttributes } from './attributes.ts';
import { directoryOf } from './directories.ts';
import { entryOf } from './entries.ts';
import { attributesByHandle } from './handles.ts';
import type { Layer } from './layer.ts';
import { parentOf } from './listing.ts';

const DOT = 0x2e;
const SLASH = 0x2f;
const NAME_MAX = 255;

/** As `WritableFilesystem.lookup`. */
export function lookupEntry(layer: Layer, parent: number, name: Uint8Array, out: WritableAttributes): Errno | 0 {
  if (name.length === 1 && (name[0] === DOT || name[0] === SLASH)) return attributesByHandle(layer, parent, out);
  if (name.length === 2 && name[0] === DOT && name[1] === DOT) return attributesOf(layer, parentOf(layer, parent), out);
  const directory = directoryOf(layer, parent);
  if (isErrno(directory)) return directory;
  if (name.length > NAME_MAX) return ENAMETOOLONG;
  const entry = entryOf(layer, directory, name);
  if (isErrno(entry)) return entry;
  if (entry.row >= 0) {
    return entry.lower >= 0 ? upperAttributes(layer, entry.row, out) : fillFrom(layer, entry.row, layer.status, out);
  }
  const result = layer.image.lookup(layer.idOf(directory.lower), name, out);
  if (result !== 0) return result;
  out.ino = entry.ino;
  return completeImage(layer, layer.table.find(out.ino), out);
}
