/** `cfs-info handle`: the handles of files, from a mount or from an image alone. */
import { lstatSync } from 'node:fs';
import { printable, toHex } from '../../src/base/bytes.ts';
import { EINVAL, ENOENT, ENOTDIR, EOPNOTSUPP, type Errno, isErrno } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import {
  type FileHandle,
  formatHandle,
  fuseConnectableHandle,
  fuseHandle,
  fuseIdentity,
  type InodeIdentity,
} from '../../src/base/handle-format.ts';
import { jsonText } from '../../src/base/json-text.ts';
import { isDirectory, lookupPath } from '../../src/manifest/lookup.ts';
import { type ManifestTables, u64 } from '../../src/manifest/tables.ts';
import { AT_HANDLE_CONNECTABLE, nameToHandle } from '../../src/system/file-handle.ts';
import { errnoText } from '../../src/system/libc.ts';
import type { ExitStatus } from '../cli.ts';
import {
  type DirectoryEntry,
  type DirectoryEntryJson,
  entryOf,
  jsonOfEntry,
  splitPath,
  typedPath,
} from './directory-entry.ts';
import { answerEach } from './operands.ts';
import type { Output } from './output.ts';
import { findPath, type ImagePath } from './paths.ts';

export interface HandleOptions {
  readonly json: boolean;
  /** With the parent directory in the handle. */
  readonly connectable: boolean;
}

interface NamedHandle {
  readonly path: Uint8Array;
  readonly handle: FileHandle;
  /** If it is a handle of a FUSE mount. */
  readonly identity: InodeIdentity | undefined;
  /** None for the root of the mount or image. */
  readonly parent: DirectoryEntry | undefined;
  /** Of the mount that the path leads to. */
  readonly mountId: number | undefined;
}

/**
 * Shows the kernel's handles for files of a mount; symbolic links are not followed.
 * @throws CfsError: `usage` if there is no such file, `system` if the kernel returns no handle
 */
export function showHandles(paths: readonly string[], options: HandleOptions, out: Output): ExitStatus {
  return answer(paths, options.json, out, (path) => handleOfPath(typedPath(path), options.connectable));
}

/**
 * Shows the handles that a mount of the image would have, without one. @throws CfsError (usage) if there is no such
 * file
 */
export function showImageHandles(
  tables: ManifestTables,
  image: string,
  paths: readonly string[],
  options: HandleOptions,
  out: Output,
): ExitStatus {
  return answer(paths, options.json, out, (path) =>
    handleInImage(tables, findPath(tables, image, path), options.connectable),
  );
}

function answer(
  paths: readonly string[],
  json: boolean,
  out: Output,
  handleOf: (path: string) => NamedHandle,
): ExitStatus {
  return answerEach(paths, json, out, (path) => {
    const named = handleOf(path);
    if (json) out.jsonElement(jsonOfHandle(named));
    else out.text(`${formatHandle(named.handle)}${paths.length === 1 ? '' : `  ${printable(named.path)}`}\n`);
  });
}

/** A handle in --json. Keys without a value are omitted. */
export interface HandleJson {
  /** "0x81:" and f_handle in hexadecimal. */
  readonly handle: string;
  readonly type: number;
  /** f_handle in hexadecimal. */
  readonly bytes: string;
  /** The contents of a FUSE handle: the stable id, in a cfs mount. */
  readonly id: number | undefined;
  readonly generation: number | undefined;
}

export const jsonFields = (handle: FileHandle, identity: InodeIdentity | undefined): HandleJson => ({
  handle: formatHandle(handle),
  type: handle.type,
  bytes: toHex(handle.bytes),
  id: identity?.id,
  generation: identity?.generation,
});

/** An element of `handle --json`. For a path that is not UTF-8 see `InodeJson`. */
interface NamedHandleJson extends HandleJson {
  readonly path: string;
  readonly pathBase64: string | undefined;
  readonly parent: DirectoryEntryJson | undefined;
  readonly mountId: number | undefined;
}

function jsonOfHandle({ path, handle, identity, parent, mountId }: NamedHandle): NamedHandleJson {
  const { text, base64 } = jsonText(path);
  return {
    path: text,
    pathBase64: base64,
    ...jsonFields(handle, identity),
    parent: parent && jsonOfEntry(parent),
    mountId,
  };
}

function handleOfPath(path: Buffer, connectable: boolean): NamedHandle {
  const result = nameToHandle(path, connectable ? AT_HANDLE_CONNECTABLE : 0);
  if (isErrno(result)) {
    const kind = result === ENOENT || result === ENOTDIR ? 'usage' : 'system';
    throw new CfsError(kind, `Cannot take the handle of ${printable(path)}: ${refusal(result, connectable)}`);
  }
  const { handle, mountId } = result;
  const { ino } = lstatSync(path, { bigint: true });
  return { path, handle, identity: identityOf(handle, ino), parent: entryOf(path, mountId), mountId };
}

function refusal(errno: Errno, connectable: boolean): string {
  if (errno === EOPNOTSUPP) return 'its file system has no handles that could be opened';
  if (errno === EINVAL && connectable) {
    return 'this kernel has no connectable handles (AT_HANDLE_CONNECTABLE), which need Linux 6.13 or later';
  }
  return errnoText(errno);
}

/**
 * The contents of a FUSE handle. `inode`: st_ino of the file, since XFS writes other bytes under the same type. A mount
 * with `-o inode32` shows the low word of the id.
 */
export function identityOf(handle: FileHandle, inode: bigint): InodeIdentity | undefined {
  const identity = fuseIdentity(handle);
  if (identity === undefined) return undefined;
  const id = BigInt(identity.id);
  return id === inode || BigInt.asUintN(32, id) === inode ? identity : undefined;
}

function handleInImage(tables: ManifestTables, { row, path }: ImagePath, connectable: boolean): NamedHandle {
  const identityOfRow = (at: number): InodeIdentity => ({
    id: u64(tables.inodes.id, at),
    generation: tables.inodes.generation[at] as number,
  });
  const identity = identityOfRow(row);
  const { directory, name } = splitPath(Buffer.from(path));
  const above = identityOfRow(lookupPath(tables, directory));
  const handle = connectable
    ? fuseConnectableHandle(identity, isDirectory(tables, row) ? undefined : above)
    : fuseHandle(identity);
  const parent = name.length === 0 ? undefined : { handle: fuseHandle(above), name };
  return { path, handle, identity, parent, mountId: undefined };
}
