/** The way to an inode: names from the root. */
import { ROOT_INO } from '../fs/filesystem.ts';
import type { Layer } from './layer.ts';

/** Under the lock: one path of an inode as it is now, as names; undefined if it has none. */
export function namesTo(layer: Layer, ino: number): Uint8Array[] | undefined {
  const names: Uint8Array[] = [];
  for (let at = ino; at !== ROOT_INO; ) {
    const row = layer.table.find(at);
    const isInImage = layer.rowInImage(at) >= 0;
    const name = (row < 0 ? undefined : layer.table.nameOf(row)) ?? (isInImage ? layer.nameInImage(at) : undefined);
    if (name === undefined) return undefined;
    names.push(name.name);
    at = name.parent;
  }
  return names.reverse();
}

const SLASH = Uint8Array.of(0x2f);

/** An absolute path. @param names from the root */
export const pathFrom = (names: readonly Uint8Array[]): Uint8Array =>
  names.length === 0 ? SLASH : Buffer.concat(names.flatMap((name) => [SLASH, name]));

/** The path of an entry of the directory `directory`. */
export const pathIn = (directory: Uint8Array, name: Uint8Array): Uint8Array =>
  Buffer.concat(directory.length === 1 ? [SLASH, name] : [directory, SLASH, name]);
