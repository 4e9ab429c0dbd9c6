/**
 * The structures of the ioctl(2)s for checkpoints, `struct cfs_orphan` and `struct cfs_claim` of include/cfs.h.
 * docs/checkpoint.md explains them. Pure; little-endian.
 */
import { ioctlCommand } from './ioctl-command.ts';

export const NR_LINKABLE = 0x20;
export const NR_RELINK = 0x21;
export const NR_CLAIM = 0x22;

/** The version of both structures. */
const VERSION = 1;
const NAME_AT = 40;
const NAME_ROOM = 256;
/** Bytes of text that one call returns or takes. */
export const CLAIM_TEXT_ROOM = 4096;

/** Bytes of `struct cfs_orphan`. */
export const ORPHAN_SIZE: number = NAME_AT + NAME_ROOM;
/** Bytes of `struct cfs_claim`. */
export const CLAIM_SIZE: number = 32 + CLAIM_TEXT_ROOM;

/** Lets linkat(2) give a name to a file without one, or takes that back. */
export const CFS_IOC_LINKABLE: number = ioctlCommand(NR_LINKABLE, ORPHAN_SIZE);
/** Gives a name to a file or directory without one. */
export const CFS_IOC_RELINK: number = ioctlCommand(NR_RELINK, ORPHAN_SIZE);
/** Makes, completes, ends and reads the claims of checkpoints. */
export const CFS_IOC_CLAIM: number = ioctlCommand(NR_CLAIM, CLAIM_SIZE);

const FLAG_LINKABLE = 1;

/** A file without a name, and the name for it. */
export interface OrphanRequest {
  /** With CFS_IOC_LINKABLE: whether it is to be linkable. */
  readonly isLinkable: boolean;
  /** 0: the file that the ioctl is called on. */
  readonly ino: number;
  readonly generation: number;
  /** The checkpoint that has it named; 0n for none. */
  readonly claim: bigint;
  /** st_ino of the directory of the name. */
  readonly parent: number;
  readonly name: Uint8Array;
}

export function encodeOrphan(request: Partial<OrphanRequest>, nlink = 0): Uint8Array {
  const bytes = Buffer.alloc(ORPHAN_SIZE);
  bytes.writeUInt32LE(VERSION, 0);
  bytes.writeUInt32LE(request.isLinkable === true ? FLAG_LINKABLE : 0, 4);
  bytes.writeBigUInt64LE(BigInt(request.ino ?? 0), 8);
  bytes.writeUInt32LE(request.generation ?? 0, 16);
  bytes.writeUInt32LE(nlink, 20);
  bytes.writeBigUInt64LE(request.claim ?? 0n, 24);
  bytes.writeBigUInt64LE(BigInt(request.parent ?? 0), 32);
  bytes.set((request.name ?? new Uint8Array(0)).subarray(0, NAME_ROOM - 1), NAME_AT);
  return bytes;
}

/** Undefined if it is too short, or has a number or name that no file can have. */
export function decodeOrphan(input: Uint8Array): OrphanRequest | undefined {
  if (input.length < ORPHAN_SIZE) return undefined;
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.length);
  const [ino, parent] = [bytes.readBigUInt64LE(8), bytes.readBigUInt64LE(32)];
  const name = textAt(bytes, NAME_AT, NAME_ROOM);
  if (ino > MAX_INO || parent > MAX_INO || name === undefined) return undefined;
  return {
    isLinkable: (bytes.readUInt32LE(4) & FLAG_LINKABLE) !== 0,
    ino: Number(ino),
    generation: bytes.readUInt32LE(16),
    claim: bytes.readBigUInt64LE(24),
    parent: Number(parent),
    name,
  };
}

const MAX_INO = BigInt(Number.MAX_SAFE_INTEGER);

/** `nlink` of the file in an answer. */
export const nlinkOfAnswer = (answer: Uint8Array): number =>
  Buffer.from(answer.buffer, answer.byteOffset, answer.length).readUInt32LE(20);

/** The text of a field with a NUL after it; undefined without the NUL. */
function textAt(bytes: Buffer, at: number, room: number): Uint8Array | undefined {
  const end = bytes.indexOf(0, at);
  return end < 0 || end >= at + room ? undefined : Uint8Array.from(bytes.subarray(at, end));
}

/**
 * CFS_CLAIM_*: `begin` makes a claim with a text that describes its checkpoint. Until `complete` the next mount removes
 * the names that it has given. `end` forgets it, and leaves the names alone. `next` finds the first claim with a higher
 * id, and `read` a piece of what is recorded of one.
 */
export const CLAIM_OPERATIONS = ['begin', 'complete', 'end', 'next', 'read'] as const;
export type ClaimOperation = (typeof CLAIM_OPERATIONS)[number];

export interface ClaimRequest {
  readonly operation: ClaimOperation;
  readonly id: bigint;
  /** In the record, for `read`. */
  readonly offset: number;
  readonly text: Uint8Array;
}

export interface ClaimAnswer {
  readonly id: bigint;
  readonly isComplete: boolean;
  /** A piece of the record; empty at its end. */
  readonly text: Uint8Array;
}

export function encodeClaim({ operation, id, offset, text }: ClaimRequest): Uint8Array {
  return claimBytes(CLAIM_OPERATIONS.indexOf(operation) + 1, id, offset, false, text);
}

export const encodeClaimAnswer = ({ id, isComplete, text }: ClaimAnswer): Uint8Array =>
  claimBytes(0, id, 0, isComplete, text);

function claimBytes(operation: number, id: bigint, offset: number, isComplete: boolean, text: Uint8Array): Uint8Array {
  const piece = text.subarray(0, CLAIM_TEXT_ROOM);
  const bytes = Buffer.alloc(CLAIM_SIZE);
  bytes.writeUInt32LE(VERSION, 0);
  bytes.writeUInt32LE(operation, 4);
  bytes.writeBigUInt64LE(id, 8);
  bytes.writeBigUInt64LE(BigInt(offset), 16);
  bytes.writeUInt32LE(piece.length, 24);
  bytes.writeUInt32LE(isComplete ? 1 : 0, 28);
  bytes.set(piece, 32);
  return bytes;
}

/** Undefined if it is too short, or no request. */
export function decodeClaim(input: Uint8Array): ClaimRequest | undefined {
  if (input.length < CLAIM_SIZE) return undefined;
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.length);
  const operation = CLAIM_OPERATIONS[bytes.readUInt32LE(4) - 1];
  const [offset, length] = [bytes.readBigUInt64LE(16), bytes.readUInt32LE(24)];
  if (operation === undefined || offset > MAX_INO || length > CLAIM_TEXT_ROOM) return undefined;
  const text = Uint8Array.from(bytes.subarray(32, 32 + length));
  return { operation, id: bytes.readBigUInt64LE(8), offset: Number(offset), text };
}

export function decodeClaimAnswer(answer: Uint8Array): ClaimAnswer {
  const bytes = Buffer.from(answer.buffer, answer.byteOffset, answer.length);
  const length = Math.min(bytes.readUInt32LE(24), CLAIM_TEXT_ROOM);
  return {
    id: bytes.readBigUInt64LE(8),
    isComplete: bytes.readUInt32LE(28) !== 0,
    text: Uint8Array.from(bytes.subarray(32, 32 + length)),
  };
}
