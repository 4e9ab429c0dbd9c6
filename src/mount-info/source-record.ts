/**
 * A mount's data about one of its sources, and its encoding, `struct cfs_source` of docs/handles.md. Pure: bytes and
 * values. Little-endian, like the machines that cfs runs on.
 */

import { type FileHandle, MAX_HANDLE_BYTES } from '../base/handle-format.ts';
import { uuidText } from '../system/file-system-uuid.ts';

/** `upperdir` and `workdir`: the directories of a mount that can be written. */
export type SourceKind = 'image' | 'repository' | 'upperdir' | 'workdir';

/** The current origin of bytes of a mount. */
export interface SourceRecord {
  readonly kind: SourceKind;
  /** The number of sources of the mount; this is number `index` of 0 to `count - 1`. The image is number 0. */
  readonly index: number;
  readonly count: number;
  /** As it was given to cfs-mount. */
  readonly given: Uint8Array;
  /** Absolute path now, as the daemon sees it; undefined if it was deleted or its file system unmounted. */
  readonly path: Uint8Array | undefined;
  /** st_dev. */
  readonly device: { readonly major: number; readonly minor: number };
  /** All 64 bits; stacked file systems use the high ones, too. */
  readonly ino: bigint;
  /** Of the file system, as in mountinfo: "ext4". */
  readonly fsType: string;
  /** "8-4-4-4-12" digits; undefined if the file system has none. */
  readonly fsUuid: string | undefined;
  /** Id of the mount in mountinfo. */
  readonly mountId: number;
  /** Opens the source with open_by_handle_at(2) on any mount of its file system; undefined if that has no handles. */
  readonly handle: FileHandle | undefined;
  /**
   * Its directory, and its name there: a way to its path if the handle opens the file without a path. Undefined if it
   * was moved out of the directory that it was mounted from.
   */
  readonly parent: { readonly handle: FileHandle; readonly name: Uint8Array } | undefined;
  /** The image's id, 64 digits; the repository's uuid; empty for others. */
  readonly id: string;
}

export const SOURCE_VERSION = 1;
const KINDS: readonly SourceKind[] = ['image', 'repository', 'upperdir', 'workdir'];

const FLAG_GONE = 1;
const FLAG_FS_UUID = 2;
const FLAG_HANDLE = 4;
const FLAG_PARENT = 8;

/** Offsets in bytes. */
const VERSION = 0;
const COUNT = 8;
const KIND = 12;
const FLAGS = 16;
const DEV_MAJOR = 20;
const DEV_MINOR = 24;
const INO = 32;
const MNT_ID = 40;
const HANDLE = 48;
const PARENT_HANDLE = HANDLE + 8 + MAX_HANDLE_BYTES;
const FS_UUID = PARENT_HANDLE + 8 + MAX_HANDLE_BYTES;
const FS_TYPE = FS_UUID + 16;
const ID = FS_TYPE + 32;
const NAME = ID + 80;
const PATH = NAME + 256;
const GIVEN = PATH + 4096;

/** The offset of the source's number in a request. */
export const SOURCE_INDEX = 4;
/** Bytes of `struct cfs_source` in this version. */
export const SOURCE_SIZE: number = GIVEN + 4096;

/** @returns SOURCE_SIZE bytes; texts that are too long for their field are left empty */
export function encodeSource(record: SourceRecord): Uint8Array {
  const bytes = Buffer.alloc(SOURCE_SIZE);
  const text = (at: number, size: number, value: Uint8Array | undefined): void => {
    if (value !== undefined && value.length < size) bytes.set(value, at);
  };
  const handle = (at: number, value: FileHandle | undefined): void => {
    if (value === undefined) return;
    bytes.writeUInt32LE(value.bytes.length, at);
    bytes.writeInt32LE(value.type, at + 4);
    bytes.set(value.bytes, at + 8);
  };
  const flags =
    (record.path === undefined ? FLAG_GONE : 0) |
    (record.fsUuid === undefined ? 0 : FLAG_FS_UUID) |
    (record.handle === undefined ? 0 : FLAG_HANDLE) |
    (record.parent === undefined ? 0 : FLAG_PARENT);
  bytes.writeUInt32LE(SOURCE_VERSION, VERSION);
  bytes.writeUInt32LE(record.index, SOURCE_INDEX);
  bytes.writeUInt32LE(record.count, COUNT);
  bytes.writeUInt32LE(KINDS.indexOf(record.kind) + 1, KIND);
  bytes.writeUInt32LE(flags, FLAGS);
  bytes.writeUInt32LE(record.device.major, DEV_MAJOR);
  bytes.writeUInt32LE(record.device.minor, DEV_MINOR);
  bytes.writeBigUInt64LE(record.ino, INO);
  bytes.writeBigUInt64LE(BigInt(record.mountId), MNT_ID);
  handle(HANDLE, record.handle);
  handle(PARENT_HANDLE, record.parent?.handle);
  if (record.fsUuid !== undefined) bytes.set(Buffer.from(record.fsUuid.replaceAll('-', ''), 'hex'), FS_UUID);
  text(FS_TYPE, 32, Buffer.from(record.fsType));
  text(ID, 80, Buffer.from(record.id));
  text(NAME, 256, record.parent?.name);
  text(PATH, 4096, record.path);
  text(GIVEN, 4096, record.given);
  return bytes;
}

/** Decodes `struct cfs_source`; undefined for an unknown version. */
export function decodeSource(struct: Uint8Array): SourceRecord | undefined {
  const bytes = Buffer.from(struct.buffer, struct.byteOffset, struct.length);
  if (bytes.length < SOURCE_SIZE || bytes.readUInt32LE(VERSION) < SOURCE_VERSION) return undefined;
  const kind = KINDS[bytes.readUInt32LE(KIND) - 1];
  if (kind === undefined) return undefined;
  const text = (at: number, size: number): Uint8Array => {
    const end = bytes.indexOf(0, at);
    return Uint8Array.from(bytes.subarray(at, end < 0 || end > at + size ? at + size : end));
  };
  const handle = (at: number): FileHandle => {
    const length = Math.min(bytes.readUInt32LE(at), MAX_HANDLE_BYTES);
    return { type: bytes.readInt32LE(at + 4), bytes: Uint8Array.from(bytes.subarray(at + 8, at + 8 + length)) };
  };
  const flags = bytes.readUInt32LE(FLAGS);
  return {
    kind,
    index: bytes.readUInt32LE(SOURCE_INDEX),
    count: bytes.readUInt32LE(COUNT),
    given: text(GIVEN, 4096),
    path: (flags & FLAG_GONE) === 0 ? text(PATH, 4096) : undefined,
    device: { major: bytes.readUInt32LE(DEV_MAJOR), minor: bytes.readUInt32LE(DEV_MINOR) },
    ino: bytes.readBigUInt64LE(INO),
    fsType: Buffer.from(text(FS_TYPE, 32)).toString(),
    fsUuid: (flags & FLAG_FS_UUID) === 0 ? undefined : uuidText(bytes.subarray(FS_UUID, FS_UUID + 16)),
    mountId: Number(bytes.readBigUInt64LE(MNT_ID)),
    handle: (flags & FLAG_HANDLE) === 0 ? undefined : handle(HANDLE),
    parent: (flags & FLAG_PARENT) === 0 ? undefined : { handle: handle(PARENT_HANDLE), name: text(NAME, 256) },
    id: Buffer.from(text(ID, 80)).toString(),
  };
}
