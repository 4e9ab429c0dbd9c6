/** A file as a name in a directory: this opens even if the file's own handle is stale. */
import { realpathSync } from 'node:fs';
import { printable } from '../../src/base/bytes.ts';
import { isErrno } from '../../src/base/errno.ts';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { type FileHandle, formatHandle } from '../../src/base/handle-format.ts';
import { jsonText } from '../../src/base/json-text.ts';
import { pathBytes } from '../../src/base/path-text.ts';
import { nameToHandle } from '../../src/system/file-handle.ts';
import { statAt } from '../../src/system/file-status.ts';
import { AT_FDCWD } from '../../src/system/libc.ts';
import { unescapePrintable } from './paths.ts';

export interface DirectoryEntry {
  /** The directory's handle. */
  readonly handle: FileHandle;
  /** Undefined if the handle of the file already includes the directory. */
  readonly name: Uint8Array | undefined;
}

/** In --json. For names that are not UTF-8 see `InodeJson`. */
export interface DirectoryEntryJson {
  readonly handle: string;
  readonly name: string | undefined;
  readonly nameBase64: string | undefined;
}

export function jsonOfEntry({ handle, name }: DirectoryEntry): DirectoryEntryJson {
  const text = name === undefined ? undefined : jsonText(name);
  return { handle: formatHandle(handle), name: text?.text, nameBase64: text?.base64 };
}

/** A path of the command line: as typed, or with `\xHH` for a byte if only that exists. */
export function typedPath(argument: string): Buffer {
  const literal = pathBytes(argument);
  const escaped = argument.includes('\\') ? unescapePrintable(argument) : literal;
  const isThere = (path: Buffer): boolean => !isErrno(statAt(AT_FDCWD, path));
  return !isThere(literal) && isThere(escaped) ? escaped : literal;
}

/**
 * The directory's handle and the name in it of the file at `path`, without following a symbolic link at its end.
 * Undefined if the mount `mountId` begins there.
 * @throws CfsError (system) if the directory cannot be found
 */
export function entryOf(path: Buffer, mountId: number): DirectoryEntry | undefined {
  const { directory, name } = splitPath(withoutDots(path));
  if (name.length === 0) return undefined;
  const found = nameToHandle(directory);
  return isErrno(found) || found.mountId !== mountId ? undefined : { handle: found.handle, name };
}

/** The same path, ending in the name of a directory's entry. */
function withoutDots(path: Buffer): Buffer {
  const name = path.subarray(path.lastIndexOf(0x2f) + 1).toString('latin1');
  // these names follow a symbolic link, as does a slash at the end
  if (!['', '.', '..'].includes(name)) return path;
  try {
    return realpathSync(path, { encoding: 'buffer' });
  } catch (error) {
    throw new CfsError('system', `Cannot find the directory of ${printable(path)}: ${reasonOf(error)}`);
  }
}

/** Directory and last name of a path that ends in a name. The name of "/" is empty. */
export function splitPath(path: Buffer): { readonly directory: Buffer; readonly name: Buffer } {
  const slash = path.lastIndexOf(0x2f);
  const directory = slash < 0 ? Buffer.from('.') : path.subarray(0, Math.max(slash, 1));
  return { directory, name: path.subarray(slash + 1) };
}
