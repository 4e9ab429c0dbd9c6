/** Asking a mount to name files without a name, and about the claims of checkpoints. Errors are values. */
import {
  CFS_IOC_CLAIM,
  CFS_IOC_LINKABLE,
  CFS_IOC_RELINK,
  type ClaimAnswer,
  type ClaimOperation,
  decodeClaimAnswer,
  encodeClaim,
  encodeOrphan,
  nlinkOfAnswer,
  type OrphanRequest,
} from '../base/checkpoint-structs.ts';
import { ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { ioctl } from '../system/descriptors.ts';
import { type ClaimRecord, parseClaim } from '../upper/claims.ts';

/**
 * Makes a file without a name linkable, or takes that back.
 * @param fd any open file or directory of the mount; the file itself if the request has no `ino`
 * @returns its number of links then
 */
export function makeLinkable(fd: number, request: Partial<OrphanRequest>): number | Errno {
  return ask(fd, CFS_IOC_LINKABLE, request);
}

/** Gives a file or directory without a name the name of the request. @returns its number of links then */
export function relinkOrphan(fd: number, request: Partial<OrphanRequest>): number | Errno {
  return ask(fd, CFS_IOC_RELINK, request);
}

function ask(fd: number, command: number, request: Partial<OrphanRequest>): number | Errno {
  const bytes = encodeOrphan(request);
  const result = ioctl(fd, command, bytes);
  return isErrno(result) ? result : nlinkOfAnswer(bytes);
}

const EMPTY: Uint8Array = Uint8Array.of();

function claim(
  fd: number,
  operation: ClaimOperation,
  id: bigint,
  text: Uint8Array = EMPTY,
  offset = 0,
): ClaimAnswer | Errno {
  const bytes = encodeClaim({ operation, id, offset, text });
  const result = ioctl(fd, CFS_IOC_CLAIM, bytes);
  return isErrno(result) ? result : decodeClaimAnswer(bytes);
}

const done = (answer: ClaimAnswer | Errno): 0 | Errno => (isErrno(answer) ? answer : 0);

/** @param text one line about the checkpoint */
export const beginClaim = (fd: number, id: bigint, text: string): 0 | Errno =>
  done(claim(fd, 'begin', id, Buffer.from(text)));

/** From now on the mount keeps the names of the claim. */
export const completeClaim = (fd: number, id: bigint): 0 | Errno => done(claim(fd, 'complete', id));

/** The mount forgets the claim; its names stay. */
export const endClaim = (fd: number, id: bigint): 0 | Errno => done(claim(fd, 'end', id));

/** A claim of a mount, with its record. */
export interface MountClaim extends ClaimRecord {
  readonly id: bigint;
  readonly isComplete: boolean;
}

/** All claims of a mount, in the order of their ids. One whose record is damaged has an empty text and no names. */
export function claimsOf(fd: number): MountClaim[] | Errno {
  const claims: MountClaim[] = [];
  for (let id = 0n; ; ) {
    const next = claim(fd, 'next', id);
    if (next === ENOENT) return claims;
    if (isErrno(next)) return next;
    id = next.id;
    const bytes = recordOf(fd, id);
    // it has ended in the meantime
    if (bytes === ENOENT) continue;
    if (isErrno(bytes)) return bytes;
    claims.push({ id, isComplete: next.isComplete, ...(parseClaim(bytes) ?? { text: '', names: [] }) });
  }
}

function recordOf(fd: number, id: bigint): Uint8Array | Errno {
  const pieces: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const piece = claim(fd, 'read', id, EMPTY, offset);
    if (isErrno(piece)) return piece;
    if (piece.text.length === 0) return Buffer.concat(pieces);
    pieces.push(piece.text);
    offset += piece.text.length;
  }
}
