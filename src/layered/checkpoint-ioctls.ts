/** The ioctl(2)s of a writable mount for checkpoints, docs/checkpoint.md: the permission, and the structures. */

import {
  CLAIM_TEXT_ROOM,
  type ClaimRequest,
  decodeClaim,
  decodeOrphan,
  encodeClaimAnswer,
  encodeOrphan,
  NR_CLAIM,
  NR_LINKABLE,
  NR_RELINK,
} from '../base/checkpoint-structs.ts';
import { EINVAL, ENOENT, EPERM, EROFS, type Errno, isErrno } from '../base/errno.ts';
import { commandNumber, sizedAnswer } from '../base/ioctl-command.ts';
import { type CapabilityReach, capabilityReach } from '../system/caller-capabilities.ts';
import { beginClaim, completeClaim, endClaim, listClaims, readClaim } from '../upper/claims.ts';
import type { Layer } from './layer.ts';
import { answerOrphan } from './relink.ts';

const EMPTY: Uint8Array = Uint8Array.of();

/** Whether a command is one of these. */
export function isCheckpointCommand(command: number): boolean {
  const nr = commandNumber(command);
  return nr === NR_LINKABLE || nr === NR_RELINK || nr === NR_CLAIM;
}

/**
 * As `Filesystem.ioctl`. EPERM without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
 * @param pid of the caller
 */
export function checkpointIoctl(
  layer: Layer,
  ino: number,
  command: number,
  input: Uint8Array,
  room: number,
  pid: number,
): Uint8Array | Errno {
  const reach = capabilityReach(pid);
  if (reach === 'none') return EPERM;
  const nr = commandNumber(command);
  const answer = nr === NR_CLAIM ? onClaim(layer, input, reach) : onOrphan(layer, ino, nr, input, reach);
  return isErrno(answer) ? answer : sizedAnswer(answer, room);
}

function onOrphan(
  layer: Layer,
  own: number,
  nr: number,
  input: Uint8Array,
  reach: Exclude<CapabilityReach, 'none'>,
): Uint8Array | Errno {
  const request = decodeOrphan(input);
  if (request === undefined) return EINVAL;
  const isRelink = nr === NR_RELINK;
  // other files and directories may be some that the caller does not see: only for those that may open any handle
  if (reach !== 'all' && (isRelink || request.ino !== 0 || request.claim !== 0n)) return EPERM;
  const done = layer.state.hold(() => {
    layer.tree.tidy();
    return answerOrphan(layer, own, request, isRelink, reach);
  });
  return isErrno(done) ? done : encodeOrphan({ ...request, ino: done.ino }, done.nlink);
}

/** Without the lock, because it may wait for the disk. */
function onClaim(layer: Layer, input: Uint8Array, reach: CapabilityReach): Uint8Array | Errno {
  if (reach !== 'all') return EPERM;
  const request = decodeClaim(input);
  if (request === undefined) return EINVAL;
  const { claims: dir } = layer.directories;
  if (dir < 0) return EROFS;
  const { operation, id, offset } = request;
  if (operation === 'begin' || operation === 'complete' || operation === 'end') {
    const done = changeClaim(dir, request, !layer.settings.volatile);
    return isErrno(done) ? done : encodeClaimAnswer({ id, isComplete: operation === 'complete', text: EMPTY });
  }
  const claims = listClaims(dir);
  if (isErrno(claims)) return claims;
  const found = claims.find((claim) => (operation === 'next' ? claim.id > id : claim.id === id));
  if (found === undefined) return ENOENT;
  const piece = operation === 'read' ? readClaim(dir, found, offset, CLAIM_TEXT_ROOM) : EMPTY;
  return isErrno(piece) ? piece : encodeClaimAnswer({ ...found, text: piece });
}

function changeClaim(dir: number, { operation, id, text }: ClaimRequest, sync: boolean): 0 | Errno {
  if (operation === 'begin') return beginClaim(dir, id, text);
  return operation === 'complete' ? completeClaim(dir, id, sync) : endClaim(dir, id);
}
