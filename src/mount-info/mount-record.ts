/** A mount's data about itself, and its encoding, `struct cfs_mount` of docs/handles.md. Pure; little-endian. */
import { fromHex, toHex } from '../base/bytes.ts';
import { DIGEST_SIZE } from '../base/digest.ts';

export interface MountRecord {
  /** Process id of the daemon, in its own pid namespace. */
  readonly pid: number;
  /** Sources: the image, the repositories, and the directories of an upper layer. */
  readonly sources: number;
  /** 64 hexadecimal digits. */
  readonly imageId: string;
  /** The path of the mount when it was made, absolute; it may have been moved since. */
  readonly mountpoint: Uint8Array;
  /** In the syntax of cfs-mount -o. */
  readonly options: Uint8Array;
  /** Version of the program that serves it. */
  readonly release: string;
}

export const MOUNT_VERSION = 1;
const PATH_ROOM = 4096;
/** The length of the longest options that fit into a record, in bytes. */
export const MOST_OPTIONS: number = PATH_ROOM - 1;

/** Offsets in bytes. */
const VERSION = 0;
const SOURCES = 4;
const PID = 8;
const IMAGE_ID = 16;
const OPTIONS = IMAGE_ID + DIGEST_SIZE;
const MOUNTPOINT = OPTIONS + PATH_ROOM;

const RELEASE = MOUNTPOINT + PATH_ROOM;
const RELEASE_ROOM = 32;

/** Bytes of `struct cfs_mount` in this version. */
export const MOUNT_SIZE: number = RELEASE + RELEASE_ROOM;

/** @returns MOUNT_SIZE bytes; texts of 4,096 bytes or more are left empty */
export function encodeMount(record: MountRecord): Uint8Array {
  const bytes = Buffer.alloc(MOUNT_SIZE);
  bytes.writeUInt32LE(MOUNT_VERSION, VERSION);
  bytes.writeUInt32LE(record.sources, SOURCES);
  bytes.writeUInt32LE(record.pid, PID);
  bytes.set(fromHex(record.imageId), IMAGE_ID);
  if (record.options.length < PATH_ROOM) bytes.set(record.options, OPTIONS);
  if (record.mountpoint.length < PATH_ROOM) bytes.set(record.mountpoint, MOUNTPOINT);
  bytes.write(record.release, RELEASE, RELEASE_ROOM - 1, 'latin1');
  return bytes;
}

/** Decodes `struct cfs_mount`; undefined for an unknown version. */
export function decodeMount(struct: Uint8Array): MountRecord | undefined {
  const bytes = Buffer.from(struct.buffer, struct.byteOffset, struct.length);
  if (bytes.length < MOUNT_SIZE || bytes.readUInt32LE(VERSION) < MOUNT_VERSION) return undefined;
  const text = (at: number, room = PATH_ROOM): Uint8Array => {
    const field = bytes.subarray(at, at + room);
    const end = field.indexOf(0);
    return Uint8Array.from(field.subarray(0, end < 0 ? room : end));
  };
  return {
    pid: bytes.readUInt32LE(PID),
    sources: bytes.readUInt32LE(SOURCES),
    imageId: toHex(bytes.subarray(IMAGE_ID, IMAGE_ID + DIGEST_SIZE)),
    mountpoint: text(MOUNTPOINT),
    options: text(OPTIONS),
    release: Buffer.from(text(RELEASE, RELEASE_ROOM)).toString('latin1'),
  };
}
