/**
 * The bytes of a keep list: the objects that an image needs, for garbage collection. docs/repository.md specifies them.
 * Roots and leases are such files. Pure.
 */
import { fromHex, toHex } from '../../base/bytes.ts';
import { DIGEST_SIZE, HASH_ALGORITHMS, type HashAlgorithm } from '../../base/digest.ts';
import { pathBytes, pathText } from '../../base/path-text.ts';

/** The contents of a keep list, without the digests. */
export interface KeepListHeader {
  readonly hash: HashAlgorithm;
  /** 64 hexadecimal digits. */
  readonly image: string;
  /** Number of digests. */
  readonly objects: number;
  /** Size of all these objects together. */
  readonly bytes: number;
  /** The time of writing, in whole seconds since 1970. */
  readonly time: number;
  /** The path of the image at that time; empty if unknown. */
  readonly path: string;
  /** The repository had all of the objects at that time. */
  readonly complete: boolean;
}

const MAGIC: Uint8Array = Buffer.from('cfs-keep');
const VERSION = 1;
const FLAG_COMPLETE = 1;
/** Longer paths are left out. */
const PATH_LIMIT = 4096;

/** In seconds: the last that a Date can represent. */
const TIME_LIMIT = 8.64e12;

/** Offsets in bytes. */
const VERSION_AT = 8;
const HASH_AT = 12;
const FLAGS_AT = 16;
const PATH_LENGTH_AT = 20;
const OBJECTS_AT = 24;
const BYTES_AT = 32;
const TIME_AT = 40;
const IMAGE_AT = 64;
const CHECKSUM_AT = 96;

export const KEEP_HEADER_SIZE = 128;

/** The path as it follows the header: padded with zeros to a multiple of 32 bytes. */
export function encodeKeepPath(path: string): Uint8Array {
  const bytes = pathBytes(path);
  if (bytes.length > PATH_LIMIT) return new Uint8Array(0);
  const padded = new Uint8Array(Math.ceil(bytes.length / DIGEST_SIZE) * DIGEST_SIZE);
  padded.set(bytes);
  return padded;
}

/** The header without its checksum. */
export function encodeKeepHeader(header: KeepListHeader): Buffer {
  const bytes = Buffer.alloc(KEEP_HEADER_SIZE);
  bytes.set(MAGIC, 0);
  bytes.writeUInt32LE(VERSION, VERSION_AT);
  bytes.writeUInt32LE(HASH_ALGORITHMS.indexOf(header.hash), HASH_AT);
  bytes.writeUInt32LE(header.complete ? FLAG_COMPLETE : 0, FLAGS_AT);
  const pathLength = pathBytes(header.path).length;
  bytes.writeUInt32LE(pathLength > PATH_LIMIT ? 0 : pathLength, PATH_LENGTH_AT);
  bytes.writeBigUInt64LE(BigInt(header.objects), OBJECTS_AT);
  bytes.writeBigUInt64LE(BigInt(header.bytes), BYTES_AT);
  bytes.writeBigUInt64LE(BigInt(header.time), TIME_AT);
  bytes.set(fromHex(header.image), IMAGE_AT);
  return bytes;
}

export const checksumOf = (header: Uint8Array): Uint8Array => header.subarray(CHECKSUM_AT, CHECKSUM_AT + DIGEST_SIZE);

/** The header for computing the checksum: with zeros in its place. */
export function withoutChecksum(header: Uint8Array): Uint8Array {
  return Uint8Array.from(header).fill(0, CHECKSUM_AT, CHECKSUM_AT + DIGEST_SIZE);
}

/** The offset of the digests. */
export const digestsAt = (header: KeepListHeader): number => KEEP_HEADER_SIZE + encodeKeepPath(header.path).length;

/**
 * Parses the beginning of a keep list.
 * @param bytes header and path, at least; the rest is ignored
 * @param size of the whole file
 * @returns the header, or its problem. The checksum is left to the reader of the digests
 */
export function decodeKeepHeader(bytes: Uint8Array, size: number): KeepListHeader | string {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (header.length < KEEP_HEADER_SIZE || size < KEEP_HEADER_SIZE) return 'it is cut off';
  if (MAGIC.some((byte, i) => header[i] !== byte)) return 'it is not a keep list, or was not written completely';
  const version = header.readUInt32LE(VERSION_AT);
  if (version !== VERSION) return `it has format version ${version}; this program knows version ${VERSION}`;
  const hash = HASH_ALGORITHMS[header.readUInt32LE(HASH_AT)];
  if (hash === undefined) return 'it names no known hash';
  const flags = header.readUInt32LE(FLAGS_AT);
  if (flags > FLAG_COMPLETE) return 'it has unknown flags';
  const pathLength = header.readUInt32LE(PATH_LENGTH_AT);
  if (pathLength > PATH_LIMIT || header.length < KEEP_HEADER_SIZE + pathLength) return 'it is cut off';
  const [objects, total, time] = [OBJECTS_AT, BYTES_AT, TIME_AT].map((at) => Number(header.readBigUInt64LE(at))) as [
    number,
    number,
    number,
  ];
  if (total > Number.MAX_SAFE_INTEGER || time > TIME_LIMIT) return 'a number in it is out of range';
  const path = pathText(header.subarray(KEEP_HEADER_SIZE, KEEP_HEADER_SIZE + pathLength));
  const image = toHex(header.subarray(IMAGE_AT, IMAGE_AT + DIGEST_SIZE));
  const decoded = { hash, image, objects, bytes: total, time, path, complete: flags === FLAG_COMPLETE };
  const wanted = KEEP_HEADER_SIZE + Math.ceil(pathLength / DIGEST_SIZE) * DIGEST_SIZE + objects * DIGEST_SIZE;
  if (size !== wanted) return `it has ${size} bytes instead of ${wanted}`;
  return decoded;
}
