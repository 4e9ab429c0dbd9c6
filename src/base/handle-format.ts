/**
 * File handles as bytes and as text. A handle is the result of name_to_handle_at(2), `struct file_handle`; its contents
 * are private to the file system. The kernel builds those of FUSE (fs/fuse/inode.c, fuse_encode_fh): u32 words in the
 * machine's byte order, which is little-endian wherever this program runs. See docs/handles.md.
 */
import { fromHex, toHex } from './bytes.ts';

/** A file handle without the mount that it belongs to. */
export interface FileHandle {
  /** handle_type: in the low 16 bits FILEID_*, above them the flags of connectable handles. 32 bits, signed. */
  readonly type: number;
  /** f_handle, 1 to 128 bytes. */
  readonly bytes: Uint8Array;
}

/** MAX_HANDLE_SZ of the kernel. */
export const MAX_HANDLE_BYTES = 128;

/** id and generation. */
export const FILEID_INO64_GEN = 0x81;
/** id and generation, then those of the parent directory. */
export const FILEID_INO64_GEN_PARENT = 0x82;
/** The kernel connects the file to the parent in the handle when it opens it; Linux 6.13. */
export const FILEID_IS_CONNECTABLE = 0x10000;
/** Only a directory opens with it. */
export const FILEID_IS_DIR = 0x20000;

/** The identity of an inode of a FUSE mount: nodeid and generation. */
export interface InodeIdentity {
  readonly id: number;
  readonly generation: number;
}

const WORDS = 3;
const U32 = 0x1_0000_0000;

/** The handle that the kernel returns for an inode of a FUSE mount. */
export function fuseHandle(inode: InodeIdentity): FileHandle {
  return { type: FILEID_INO64_GEN, bytes: encodeWords(inode) };
}

/**
 * As `fuseHandle`, with AT_HANDLE_CONNECTABLE. `parent`: the directory of the name that the handle was requested by;
 * undefined for a directory's own handle.
 */
export function fuseConnectableHandle(inode: InodeIdentity, parent: InodeIdentity | undefined): FileHandle {
  if (parent === undefined) {
    return { type: FILEID_INO64_GEN | FILEID_IS_CONNECTABLE | FILEID_IS_DIR, bytes: encodeWords(inode) };
  }
  return { type: FILEID_INO64_GEN_PARENT | FILEID_IS_CONNECTABLE, bytes: encodeWords(inode, parent) };
}

function encodeWords(...inodes: readonly InodeIdentity[]): Uint8Array {
  const bytes = new Uint8Array(inodes.length * WORDS * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, { id, generation }] of inodes.entries()) {
    view.setUint32(i * 12, Math.floor(id / U32), true);
    view.setUint32(i * 12 + 4, id % U32, true);
    view.setUint32(i * 12 + 8, generation, true);
  }
  return bytes;
}

/** Decodes a FUSE handle; undefined if it cannot be one. Other file systems use the same types for other bytes. */
export function fuseIdentity({ type, bytes }: FileHandle): (InodeIdentity & { parent?: InodeIdentity }) | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = (at: number): InodeIdentity => ({
    id: view.getUint32(at, true) * U32 + view.getUint32(at + 4, true),
    generation: view.getUint32(at + 8, true),
  });
  switch (type & 0xffff) {
    case FILEID_INO64_GEN:
      return bytes.length === 12 ? read(0) : undefined;
    case FILEID_INO64_GEN_PARENT:
      return bytes.length === 24 ? { ...read(0), parent: read(12) } : undefined;
    default:
      return undefined;
  }
}

/** "0x81:f8aa02003aa919227a05e036": the type and the bytes of f_handle. */
export function formatHandle({ type, bytes }: FileHandle): string {
  return `0x${(type >>> 0).toString(16)}:${toHex(bytes)}`;
}

/**
 * The inverse of `formatHandle`. Also takes the hexadecimal digits of a whole `struct file_handle`: the number of
 * bytes, the type (4 bytes each, little-endian), the bytes. Undefined for anything else, also for more than 128 bytes.
 */
export function parseHandle(text: string): FileHandle | undefined {
  const written = /^0x([0-9a-f]{1,8}):((?:[0-9a-f]{2})+)$/i.exec(text);
  if (written !== null) {
    const [, type = '', bytes = ''] = written;
    if (bytes.length > 2 * MAX_HANDLE_BYTES) return undefined;
    return { type: Number.parseInt(type, 16) | 0, bytes: fromHex(bytes) };
  }
  if (text.length > 2 * (8 + MAX_HANDLE_BYTES) || !/^(?:[0-9a-f]{2}){9,}$/i.test(text)) return undefined;
  const struct = fromHex(text);
  const view = new DataView(struct.buffer);
  if (view.getUint32(0, true) !== struct.length - 8) return undefined;
  return { type: view.getInt32(4, true), bytes: struct.subarray(8) };
}
