/**
 * The claims of checkpoints, in W/cfs/claims: one file for each, which says which names the checkpoint has given to
 * files. Until a claim is complete its file ends in `.open`: the checkpoint may have failed, and the next mount removes
 * the names. A complete claim stays until it is ended.
 *
 * The first line is the text of the checkpoint; the others have an inode, its generation, a directory and a name, each
 * in hexadecimal.
 */
import { constants } from 'node:fs';
import { EEXIST, EINVAL, EIO, ENOENT, type Errno, isErrno } from '../base/errno.ts';
import { closeFd, openAt } from '../system/descriptors.ts';
import { createAt, RENAME_NOREPLACE, renameAt, unlinkAt } from '../system/directory-calls.ts';
import { readDirectory } from '../system/directory-listing.ts';
import { syncFd, truncateFd, writeAll } from '../system/file-content-calls.ts';
import { emptyFileStatus, statusAt, statusOf } from '../system/file-status.ts';
import { pread } from '../system/reading-writing.ts';

/** A file to which a checkpoint has given a name. */
export interface ClaimedName {
  readonly ino: number;
  readonly generation: number;
  /** The id of the directory. */
  readonly parent: number;
  readonly name: Uint8Array;
}

const LINE_END = 0x0a;
const PIECE = 1 << 16;
const DOT: Uint8Array = Buffer.from('.');
const status = emptyFileStatus();

const completeName = (id: bigint): Uint8Array => Buffer.from(id.toString(16).padStart(16, '0'), 'latin1');
const openName = (id: bigint): Uint8Array => Buffer.from(`${id.toString(16).padStart(16, '0')}.open`, 'latin1');

/** Makes a claim. EEXIST if there is one with this id, unless it is open and has the same text. */
export function beginClaim(dir: number, id: bigint, text: Uint8Array): 0 | Errno {
  if (text.length === 0 || text.includes(LINE_END)) return EINVAL;
  if (statusAt(dir, completeName(id), status) === 0) return EEXIST;
  const line = Buffer.concat([text, Buffer.of(LINE_END)]);
  const fd = createAt(dir, openName(id), 0o600);
  if (fd === EEXIST) return isSame(dir, id, line) ? 0 : EEXIST;
  if (isErrno(fd)) return fd;
  const written = writeAll(fd, line, 0);
  closeFd(fd);
  if (!isErrno(written)) return 0;
  unlinkAt(dir, openName(id));
  return written;
}

/** Whether a server that was killed, or the same request before, has made it. */
function isSame(dir: number, id: bigint, line: Uint8Array): boolean {
  const read = readAt(dir, openName(id), 0, line.length);
  return !isErrno(read) && Buffer.from(line).equals(read);
}

/** Records a name before it is given. ENOENT if there is no open claim with this id. */
export function addToClaim(dir: number, id: bigint, claimed: ClaimedName): 0 | Errno {
  const fd = openAt(dir, openName(id), constants.O_WRONLY | constants.O_NOFOLLOW);
  if (isErrno(fd)) return fd;
  const looked = statusOf(fd, status);
  const { size } = status;
  const written = isErrno(looked) ? looked : writeAll(fd, lineOf(claimed), size);
  // no piece of a line before the next one
  if (isErrno(written)) truncateFd(fd, size);
  closeFd(fd);
  return isErrno(written) ? written : 0;
}

const lineOf = ({ ino, generation, parent, name }: ClaimedName): Uint8Array =>
  Buffer.from(
    `${ino.toString(16)} ${generation.toString(16)} ${parent.toString(16)} ${Buffer.from(name).toString('hex')}\n`,
    'latin1',
  );

/** From now on the names stay. Done if it is complete. @param sync whether it is written to the disk first */
export function completeClaim(dir: number, id: bigint, sync: boolean): 0 | Errno {
  const synced = sync ? syncName(dir, openName(id), constants.O_RDONLY) : 0;
  if (synced === ENOENT) return statusAt(dir, completeName(id), status);
  if (isErrno(synced)) return synced;
  const moved = renameAt(dir, openName(id), dir, completeName(id), RENAME_NOREPLACE);
  if (moved === ENOENT) return statusAt(dir, completeName(id), status);
  if (isErrno(moved)) return moved;
  return sync ? syncName(dir, DOT, constants.O_DIRECTORY) : 0;
}

function syncName(dir: number, name: Uint8Array, flags: number): 0 | Errno {
  const fd = openAt(dir, name, flags | constants.O_NOFOLLOW);
  if (isErrno(fd)) return fd;
  const synced = syncFd(fd, false);
  closeFd(fd);
  return synced;
}

/** Forgets a claim, complete or not. Done if there is none. */
export function endClaim(dir: number, id: bigint): 0 | Errno {
  for (const name of [openName(id), completeName(id)]) {
    const removed = unlinkAt(dir, name);
    if (isErrno(removed) && removed !== ENOENT) return removed;
  }
  return 0;
}

export interface KnownClaim {
  readonly id: bigint;
  readonly isComplete: boolean;
}

/** All claims, in the order of their ids. */
export function listClaims(dir: number): KnownClaim[] | Errno {
  const claims: KnownClaim[] = [];
  const listed = readDirectory(dir, (name) => {
    const found = /^([0-9a-f]{16})(\.open)?$/.exec(Buffer.from(name).toString('latin1'));
    if (found !== null) claims.push({ id: BigInt(`0x${found[1]}`), isComplete: found[2] === undefined });
  });
  if (isErrno(listed)) return listed;
  return claims.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** A piece of the record of a claim; empty at its end. ENOENT if there is none. */
export function readClaim(
  dir: number,
  { id, isComplete }: KnownClaim,
  offset: number,
  length: number,
): Uint8Array | Errno {
  return readAt(dir, isComplete ? completeName(id) : openName(id), offset, length);
}

function readAt(dir: number, name: Uint8Array, offset: number, length: number): Uint8Array | Errno {
  const fd = openAt(dir, name, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  if (isErrno(fd)) return fd;
  const bytes = Buffer.alloc(length);
  const read = pread(fd, bytes, length, offset);
  closeFd(fd);
  return isErrno(read) ? read : bytes.subarray(0, read);
}

/** The whole record. EIO if it has no first line. */
export function namesOfClaim(dir: number, claim: KnownClaim): ClaimedName[] | Errno {
  const pieces: Uint8Array[] = [];
  for (let offset = 0; ; ) {
    const piece = readClaim(dir, claim, offset, PIECE);
    if (isErrno(piece)) return piece;
    if (piece.length === 0) break;
    pieces.push(piece);
    offset += piece.length;
  }
  return parseClaim(Buffer.concat(pieces))?.names ?? EIO;
}

export interface ClaimRecord {
  readonly text: string;
  readonly names: readonly ClaimedName[];
}

/** Reads the record of a claim. Lines that are cut off or damaged are left out. Undefined without a first line. */
export function parseClaim(bytes: Uint8Array): { text: string; names: ClaimedName[] } | undefined {
  const [text, ...lines] = Buffer.from(bytes).toString('utf8').split('\n');
  if (text === undefined || text === '' || lines.length === 0) return undefined;
  // what follows the last line end was cut off
  const names = lines.slice(0, -1).flatMap((line) => {
    const [, ino, generation, parent, name] = LINE.exec(line) ?? [];
    if (ino === undefined || generation === undefined || parent === undefined || name === undefined) return [];
    const [inode, number, directory] = [ino, generation, parent].map((word) => Number.parseInt(word, 16));
    return [
      {
        ino: inode as number,
        generation: number as number,
        parent: directory as number,
        name: Buffer.from(name, 'hex'),
      },
    ];
  });
  return { text, names };
}

const LINE = /^([0-9a-f]{1,13}) ([0-9a-f]{1,8}) ([0-9a-f]{1,13}) ((?:[0-9a-f]{2}){1,255})$/;
