/**
 * What a writable mount reports about its changes: values, and their encoding in `struct cfs_changes` and `struct
 * cfs_change` of include/cfs.h. Pure; little-endian.
 */

/** The kinds in the order of CFS_CHANGE_*, from 1. */
const KINDS = ['added', 'removed', 'changed', 'renamed'] as const;
export type ChangeRecordKind = (typeof KINDS)[number];

/** What a mount reports about one name. */
export interface ChangeRecord {
  readonly kind: ChangeRecordKind;
  /** Bits of the aspects in which it differs from its inode in the image. */
  readonly what: number;
  /** It may change at any time. */
  readonly isChanging: boolean;
  /** In an answer since an earlier call: names in the directory may have come and gone. */
  readonly hasOtherNames: boolean;
  /** In an answer since an earlier call: the directory was moved, with all that is below. */
  readonly isMoved: boolean;
  /** Of one that was removed: the file has another name now, which is listed as renamed. */
  readonly isElsewhere: boolean;
  readonly hasXattrs: boolean;
  /** Absolute: where it is now, or would be. */
  readonly path: Uint8Array;
  /** In the image; empty if it was added. */
  readonly old: Uint8Array;
  readonly ino: number;
  readonly generation: number;
  /** st_mode; of one that was removed, the mode in the image. All further fields are 0 then. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** As the kernel encodes it in 32 bits. */
  readonly rdev: number;
  readonly size: number;
  /** Seconds since 1970; may be negative. */
  readonly mtime: number;
  readonly mtimeNsec: number;
  readonly ctime: number;
  readonly ctimeNsec: number;
  /** The inode of the image with its content, or with the entries that are seen through it; 0 for none. */
  readonly lower: number;
  /** Its inode number in the upper layer. */
  readonly upper: number;
}

/** The fields of one call. */
export interface ChangesRequest {
  /** A token; empty for all changes. */
  readonly since: string;
  /** That of this pass; empty in its first call. */
  readonly token: string;
  /** CURSOR_SIZE bytes: the position; zeros in the first call. */
  readonly cursor: Uint8Array;
}

export const CHANGES_VERSION = 1;
export const CURSOR_SIZE = 320;
const TOKEN_ROOM = 64;

export const MORE = 1;
/** The token is unknown, or of before a crash: everything is listed. */
export const EVERYTHING = 2;
/** The caller may not list some directories. */
export const HIDDEN = 4;
/** Some names have paths that are too long, or cannot be read. */
export const INCOMPLETE = 8;
/** The mount was rebased: inodes of the image may have other numbers in it. `lower` has those of the image. */
export const REBASED = 16;

/** Offsets in bytes. */
const VERSION = 0;
const FLAGS = 4;
const COUNT = 8;
const BYTES = 12;
const SINCE = 16;
const TOKEN = SINCE + TOKEN_ROOM;
const CURSOR = TOKEN + TOKEN_ROOM;
const DATA = CURSOR + CURSOR_SIZE;
const DATA_ROOM = 15_360;

/** Bytes of `struct cfs_changes` in this version. */
export const CHANGES_SIZE: number = DATA + DATA_ROOM;

export function decodeRequest(struct: Uint8Array): ChangesRequest | undefined {
  if (struct.length < DATA) return undefined;
  return { since: textAt(struct, SINCE), token: textAt(struct, TOKEN), cursor: struct.slice(CURSOR, DATA) };
}

function textAt(struct: Uint8Array, at: number): string {
  const field = struct.subarray(at, at + TOKEN_ROOM);
  const end = field.indexOf(0);
  return Buffer.from(field.subarray(0, end < 0 ? TOKEN_ROOM : end)).toString('latin1');
}

/** Fills a struct for a call. */
export function encodeRequest({ since, token, cursor }: ChangesRequest): Buffer {
  const struct = Buffer.alloc(CHANGES_SIZE);
  struct.write(since, SINCE, TOKEN_ROOM - 1, 'latin1');
  struct.write(token, TOKEN, TOKEN_ROOM - 1, 'latin1');
  struct.set(cursor, CURSOR);
  return struct;
}

/** Writes an answer, one record after the other. */
export class ChangesWriter {
  readonly #bytes = Buffer.alloc(CHANGES_SIZE);
  readonly #view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  #at = DATA;
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Whether a record of its size fits in an empty answer. */
  static fits(record: ChangeRecord): boolean {
    return sizeOf(record) <= DATA_ROOM;
  }

  /** @returns false if there is no room for it */
  add(record: ChangeRecord): boolean {
    const size = sizeOf(record);
    const at = this.#at;
    if (at + size > CHANGES_SIZE) return false;
    const view = this.#view;
    const flags =
      (record.isChanging ? FLAG_CHANGING : 0) |
      (record.hasOtherNames ? FLAG_ENTRIES : 0) |
      (record.isMoved ? FLAG_TREE : 0) |
      (record.isElsewhere ? FLAG_ELSEWHERE : 0) |
      (record.hasXattrs ? FLAG_XATTRS : 0);
    const u64 = (offset: number, value: number): void => {
      view.setUint32(at + offset, value >>> 0, true);
      view.setUint32(at + offset + 4, Math.floor(value / TWO_TO_32) >>> 0, true);
    };
    const u32 = (offset: number, value: number): void => view.setUint32(at + offset, value >>> 0, true);
    u32(SIZE, size);
    u32(KIND, KINDS.indexOf(record.kind) + 1);
    u32(RECORD_FLAGS, flags);
    u32(WHAT, record.what);
    u64(INO, record.ino);
    u32(GENERATION, record.generation);
    u32(MODE, record.mode);
    u32(NLINK, record.nlink);
    u32(UID, record.uid);
    u32(GID, record.gid);
    u32(RDEV, record.rdev);
    u64(FILE_BYTES, record.size);
    u64(MTIME, record.mtime);
    u64(CTIME, record.ctime);
    u32(MTIME_NSEC, record.mtimeNsec);
    u32(CTIME_NSEC, record.ctimeNsec);
    u64(LOWER, record.lower);
    u64(UPPER, record.upper);
    u32(PATH_BYTES, record.path.length);
    u32(OLD_BYTES, record.old.length);
    this.#bytes.set(record.path, at + PATHS);
    this.#bytes.set(record.old, at + PATHS + record.path.length);
    this.#at += size;
    this.#count++;
    return true;
  }

  /** The struct. @param flags of MORE, EVERYTHING, HIDDEN, INCOMPLETE, REBASED */
  finish(flags: number, { since, token, cursor }: ChangesRequest): Uint8Array {
    const bytes = this.#bytes;
    bytes.writeUInt32LE(CHANGES_VERSION, VERSION);
    bytes.writeUInt32LE(flags, FLAGS);
    bytes.writeUInt32LE(this.#count, COUNT);
    bytes.writeUInt32LE(this.#at - DATA, BYTES);
    bytes.write(since, SINCE, TOKEN_ROOM - 1, 'latin1');
    bytes.write(token, TOKEN, TOKEN_ROOM - 1, 'latin1');
    bytes.set(cursor, CURSOR);
    return bytes;
  }
}

/** Offsets in a record. */
const SIZE = 0;
const KIND = 4;
const RECORD_FLAGS = 8;
const WHAT = 12;
const INO = 16;
const GENERATION = 24;
const MODE = 28;
const NLINK = 32;
const UID = 36;
const GID = 40;
const RDEV = 44;
const FILE_BYTES = 48;
const MTIME = 56;
const CTIME = 64;
const MTIME_NSEC = 72;
const CTIME_NSEC = 76;
const LOWER = 80;
const UPPER = 88;
const PATH_BYTES = 96;
const OLD_BYTES = 100;
const PATHS = 104;

const FLAG_CHANGING = 1;
const FLAG_ENTRIES = 2;
const FLAG_TREE = 4;
const FLAG_XATTRS = 8;
const FLAG_ELSEWHERE = 16;

const TWO_TO_32 = 0x1_0000_0000;

const sizeOf = ({ path, old }: ChangeRecord): number => Math.ceil((PATHS + path.length + old.length) / 8) * 8;

/** One answer. */
export interface ChangesAnswer extends ChangesRequest {
  readonly hasMore: boolean;
  readonly isEverything: boolean;
  readonly isHidden: boolean;
  readonly isIncomplete: boolean;
  readonly isRebased: boolean;
  readonly records: readonly ChangeRecord[];
}

/** Decodes `struct cfs_changes`; undefined if it is none of a known version. */
export function decodeAnswer(struct: Uint8Array): ChangesAnswer | undefined {
  const bytes = Buffer.from(struct.buffer, struct.byteOffset, struct.length);
  const request = decodeRequest(bytes);
  if (request === undefined || bytes.readUInt32LE(VERSION) < CHANGES_VERSION) return undefined;
  const flags = bytes.readUInt32LE(FLAGS);
  const end = DATA + bytes.readUInt32LE(BYTES);
  if (end > bytes.length) return undefined;
  const records: ChangeRecord[] = [];
  for (let at = DATA; at < end; ) {
    const size = bytes.readUInt32LE(at);
    const record = size < PATHS || at + size > end ? undefined : decodeRecord(bytes.subarray(at, at + size));
    if (record === undefined) return undefined;
    records.push(record);
    at += size;
  }
  return {
    ...request,
    hasMore: (flags & MORE) !== 0,
    isEverything: (flags & EVERYTHING) !== 0,
    isHidden: (flags & HIDDEN) !== 0,
    isIncomplete: (flags & INCOMPLETE) !== 0,
    isRebased: (flags & REBASED) !== 0,
    records,
  };
}

function decodeRecord(bytes: Buffer): ChangeRecord | undefined {
  const u32 = (at: number): number => bytes.readUInt32LE(at);
  const u64 = (at: number): number => u32(at) + u32(at + 4) * TWO_TO_32;
  const i64 = (at: number): number => u32(at) + bytes.readInt32LE(at + 4) * TWO_TO_32;
  const flags = u32(RECORD_FLAGS);
  const kind = KINDS[u32(KIND) - 1];
  const end = PATHS + u32(PATH_BYTES);
  if (kind === undefined || end + u32(OLD_BYTES) > bytes.length) return undefined;
  return {
    kind,
    what: u32(WHAT),
    isChanging: (flags & FLAG_CHANGING) !== 0,
    hasOtherNames: (flags & FLAG_ENTRIES) !== 0,
    isMoved: (flags & FLAG_TREE) !== 0,
    isElsewhere: (flags & FLAG_ELSEWHERE) !== 0,
    hasXattrs: (flags & FLAG_XATTRS) !== 0,
    path: bytes.subarray(PATHS, end),
    old: bytes.subarray(end, end + u32(OLD_BYTES)),
    ino: u64(INO),
    generation: u32(GENERATION),
    mode: u32(MODE),
    nlink: u32(NLINK),
    uid: u32(UID),
    gid: u32(GID),
    rdev: u32(RDEV),
    size: u64(FILE_BYTES),
    mtime: i64(MTIME),
    mtimeNsec: u32(MTIME_NSEC),
    ctime: i64(CTIME),
    ctimeNsec: u32(CTIME_NSEC),
    lower: u64(LOWER),
    upper: u64(UPPER),
  };
}
