/**
 * name_to_handle_at(2) and open_by_handle_at(2). For the contents of a handle see handle-format.ts. System errors are
 * returned, not thrown.
 */
import type { Errno } from '../base/errno.ts';
import { type FileHandle, MAX_HANDLE_BYTES } from '../base/handle-format.ts';
import { AT_FDCWD, asErrno, cString, native } from './libc.ts';

const nameToHandleFn = native(
  'int name_to_handle_at(int dir, const void *path, _Inout_ void *handle, _Out_ int *mountId, int flags)',
);
const openByHandleFn = native('int open_by_handle_at(int mountFd, const void *handle, int flags)');

/** The handle need not open: fanotify(7) compares such handles. Linux 6.5. */
export const AT_HANDLE_FID = 0x200;
/** The handle includes the parent, so that the file opens with a path. Linux 6.13; EINVAL before. */
export const AT_HANDLE_CONNECTABLE = 0x2;

/**
 * name_to_handle_at(2) relative to the working directory; symbolic links in the last component are not followed.
 * EOPNOTSUPP if the file system has no handles.
 */
export function nameToHandle(
  path: string | Uint8Array,
  flags = 0,
): { readonly handle: FileHandle; readonly mountId: number } | Errno {
  const handle = Buffer.alloc(8 + MAX_HANDLE_BYTES);
  handle.writeUInt32LE(MAX_HANDLE_BYTES, 0);
  const mountId = [0];
  const result = nameToHandleFn(AT_FDCWD, cString(path), handle, mountId, flags);
  if (result < 0) return asErrno(result);
  const size = handle.readUInt32LE(0);
  return {
    handle: { type: handle.readInt32LE(4), bytes: Uint8Array.from(handle.subarray(8, 8 + size)) },
    mountId: mountId[0] as number,
  };
}

/**
 * open_by_handle_at(2). `mountFd` is an open file of the mount, not O_PATH; `flags` as for open(2). Returns a file
 * descriptor. ESTALE if the handle refers to no file there, EPERM without CAP_DAC_READ_SEARCH.
 */
export function openByHandle(mountFd: number, handle: FileHandle, flags: number): number | Errno {
  const buffer = Buffer.alloc(8 + handle.bytes.length);
  buffer.writeUInt32LE(handle.bytes.length, 0);
  buffer.writeInt32LE(handle.type, 4);
  buffer.set(handle.bytes, 8);
  return openByHandleFn(mountFd, buffer, flags);
}
