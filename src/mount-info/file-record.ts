/**
 * A mount's data about one of its files, and its encoding, `struct cfs_file` of docs/handles.md. Pure; little-endian.
 */
import { fromHex, toHex } from '../base/bytes.ts';
import { DIGEST_SIZE, HASH_ALGORITHMS, type HashAlgorithm } from '../base/digest.ts';
import type { RemoteKnowledge } from './remote-place.ts';

/**
 * How the copy that serves an object was verified: as a whole, block by block when it is read, not yet, never in this
 * mount, or by its fs-verity digest, against which the kernel checks every page that it reads.
 */
export type Verified = 'yes' | 'reading' | 'no' | 'off' | 'fsverity';
/** In the order of CFS_VERIFIED_*, from 1. */
const VERIFIED: readonly Verified[] = ['yes', 'reading', 'no', 'off', 'fsverity'];

/** The place of a regular file's content. */
export interface ContentPlace {
  /** Undefined if the content is in the image itself, or is empty. */
  readonly object: { readonly hash: HashAlgorithm; readonly digest: Uint8Array } | undefined;
  /**
   * The source that would serve an open: the one whose copy was verified, else the first with a copy that was not
   * refused. -1 if there is none. A copy that was not verified may still turn out to be bad; the next one is then used.
   */
  readonly source: number;
  /** All sources with a copy, which is a file of the object's name and size; numbers below 64. */
  readonly holders: readonly number[];
  readonly verified: Verified;
  /**
   * Copies that were refused when a reader asked for the object, and did not change since. Not in `struct cfs_file`.
   */
  readonly refused?: readonly RefusedCopy[];
  /** Absent if the mount has no remote repositories. Not in `struct cfs_file`. */
  readonly remote?: RemoteKnowledge;
}

export interface RefusedCopy {
  /** Number of the source. */
  readonly source: number;
  readonly outcome: 'missing' | 'damaged' | 'failed';
  /** ISO 8601. */
  readonly time: string;
  readonly reason: string;
}

export interface FileRecord {
  /** 64 hexadecimal digits. */
  readonly imageId: string;
  /** st_ino, the stable id. */
  readonly ino: number;
  readonly generation: number;
  readonly size: number;
  /**
   * Path in the image, absolute, by the first link in path order; empty if it is too long, or hidden from the caller.
   */
  readonly path: Uint8Array;
  /** Undefined unless it is a regular file. */
  readonly content: ContentPlace | undefined;
}

export const FILE_VERSION = 1;
const FLAG_REGULAR = 1;
const FLAG_OBJECT = 2;
const FLAG_PATH = 4;
const NO_SOURCE = 0xffff_ffff;
const PATH_ROOM = 4096;

/** Offsets in bytes. */
const VERSION = 0;
const FLAGS = 4;
const INO = 8;
const SIZE = 16;
const GENERATION = 24;
const HASH = 28;
const IMAGE_ID = 32;
const OBJECT = 64;
const SOURCE = 96;
const VERIFIED_AT = 100;
const HOLDERS = 104;
const PATH = 112;

/** Bytes of `struct cfs_file` in this version. */
export const FILE_SIZE: number = PATH + PATH_ROOM;

/** @returns FILE_SIZE bytes; a path of 4,096 bytes or more is omitted */
export function encodeFile(record: FileRecord): Uint8Array {
  const { content, path } = record;
  const bytes = Buffer.alloc(FILE_SIZE);
  const hasPath = path.length > 0 && path.length < PATH_ROOM;
  const flags =
    (content === undefined ? 0 : FLAG_REGULAR) |
    (content?.object === undefined ? 0 : FLAG_OBJECT) |
    (hasPath ? FLAG_PATH : 0);
  bytes.writeUInt32LE(FILE_VERSION, VERSION);
  bytes.writeUInt32LE(flags, FLAGS);
  bytes.writeBigUInt64LE(BigInt(record.ino), INO);
  bytes.writeBigUInt64LE(BigInt(record.size), SIZE);
  bytes.writeUInt32LE(record.generation, GENERATION);
  bytes.set(fromHex(record.imageId), IMAGE_ID);
  bytes.writeUInt32LE(content === undefined || content.source < 0 ? NO_SOURCE : content.source, SOURCE);
  if (content !== undefined) {
    bytes.writeUInt32LE(VERIFIED.indexOf(content.verified) + 1, VERIFIED_AT);
    bytes.writeBigUInt64LE(
      content.holders.reduce((mask, holder) => (holder < 64 ? mask | (1n << BigInt(holder)) : mask), 0n),
      HOLDERS,
    );
    if (content.object !== undefined) {
      bytes.writeUInt32LE(HASH_ALGORITHMS.indexOf(content.object.hash) + 1, HASH);
      bytes.set(content.object.digest, OBJECT);
    }
  }
  if (hasPath) bytes.set(path, PATH);
  return bytes;
}

/** Decodes `struct cfs_file`, with an empty path if it was omitted; undefined for an unknown version. */
export function decodeFile(struct: Uint8Array): FileRecord | undefined {
  const bytes = Buffer.from(struct.buffer, struct.byteOffset, struct.length);
  if (bytes.length < FILE_SIZE || bytes.readUInt32LE(VERSION) < FILE_VERSION) return undefined;
  const flags = bytes.readUInt32LE(FLAGS);
  const end = bytes.indexOf(0, PATH);
  return {
    imageId: toHex(bytes.subarray(IMAGE_ID, IMAGE_ID + DIGEST_SIZE)),
    ino: Number(bytes.readBigUInt64LE(INO)),
    generation: bytes.readUInt32LE(GENERATION),
    size: Number(bytes.readBigUInt64LE(SIZE)),
    path: Uint8Array.from(bytes.subarray(PATH, end < 0 ? FILE_SIZE : end)),
    content: (flags & FLAG_REGULAR) === 0 ? undefined : decodeContent(bytes, flags),
  };
}

function decodeContent(bytes: Buffer, flags: number): ContentPlace | undefined {
  const hash = HASH_ALGORITHMS[bytes.readUInt32LE(HASH) - 1];
  const verified = VERIFIED[bytes.readUInt32LE(VERIFIED_AT) - 1];
  if (verified === undefined) return undefined;
  const source = bytes.readUInt32LE(SOURCE);
  const mask = bytes.readBigUInt64LE(HOLDERS);
  return {
    object:
      (flags & FLAG_OBJECT) === 0 || hash === undefined
        ? undefined
        : { hash, digest: Uint8Array.from(bytes.subarray(OBJECT, OBJECT + DIGEST_SIZE)) },
    source: source === NO_SOURCE ? -1 : source,
    holders: Array.from({ length: 64 }, (_, i) => i).filter((i) => ((mask >> BigInt(i)) & 1n) === 1n),
    verified,
  };
}
