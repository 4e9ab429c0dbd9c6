/**
 * State that each server of a mount must report to the kernel identically: the backing id of each inode, and its number
 * of opens. It is written to a file in memory as it changes, because the writer may be killed at any moment. A count
 * may be too high after that, which keeps an id longer than needed; never too low, which would make an open fail.
 *
 * Why a count is never too low. An OPEN is recorded before it is answered, and the kernel counts it when it has the
 * answer. A RELEASE arrives when the kernel no longer counts the file, and is recorded after that. So at each moment
 * the recorded count is at least the kernel's. The next server gets the unanswered requests once more: it counts an
 * OPEN again, which may have been counted, and no RELEASE, which may not have been. Both leave the count too high at
 * most. It is exact again when it falls to 0: then the kernel's is 0, too. A count that stays too high keeps its id
 * until the mount ends, or until the file of the object is replaced.
 *
 * Why a recorded id is the one of that inode. It is registered before it is recorded, and set to 0 before it is closed:
 * after that the kernel may reuse it for another file. A server that dies between the two leaves an unknown id, which
 * ends with the mount.
 *
 * A half-written record. A fatal signal ends a write(2) at the end of a page, so a record that spans two pages may have
 * its first one or two fields from the new record, and the rest from the old one. The order of the fields is chosen for
 * that. A new id before an old count: the OPEN was not answered. Before an old identity: that is 0, which is no file's,
 * because a record without an id has identity 0; the next open drops the id. An id of 0 before an old count: that is
 * too high. The id of an entry never changes to another one except by way of 0.
 */
import { isErrno } from '../base/errno.ts';
import { systemError } from '../system/libc.ts';
import { pread, pwrite } from '../system/reading-writing.ts';
import { type RestoredFile, THROUGH_CACHE } from './open-files.ts';

const ENTRY_SIZE = 12;
/** For THROUGH_CACHE: servers of other versions read it, too. */
const CACHED = -1;
/** Before the entries: how many servers the mount has had. */
const HEADER_SIZE = 16;
const PIECE = ENTRY_SIZE * 8192;

export class OpenFileJournal {
  readonly #fd: number;
  readonly #entry: Buffer = Buffer.alloc(ENTRY_SIZE);

  /** @param fd a file of its own, empty at first */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /** For a server that takes over: its number, 1 for the first of them. */
  nextEpoch(): number {
    const header = Buffer.alloc(HEADER_SIZE);
    const n = pread(this.#fd, header, HEADER_SIZE, 0);
    if (isErrno(n)) throw systemError(n, 'read', 'journal');
    // 0 is the number of the server that made the mount
    const epoch = Math.max((header.readUInt32LE(0) + 1) >>> 0, 1);
    header.writeUInt32LE(epoch, 0);
    if (pwrite(this.#fd, header, 0) !== HEADER_SIZE) throw new Error('cannot count the servers of the mount');
    return epoch;
  }

  write(slot: number, backing: number, opens: number, identity: number): void {
    const entry = this.#entry;
    entry.writeInt32LE(backing === THROUGH_CACHE ? CACHED : backing, 0);
    entry.writeInt32LE(opens, 4);
    entry.writeUInt32LE(identity, 8);
    const written = pwrite(this.#fd, entry, HEADER_SIZE + slot * ENTRY_SIZE);
    // ENOMEM at worst: a server that continued with it would answer wrongly, so none may
    if (written !== ENTRY_SIZE) throw new Error(`cannot record an open file: ${written}`);
  }

  /** All entries except the empty ones. */
  *entries(): Generator<RestoredFile> {
    const piece = Buffer.alloc(PIECE);
    for (let at = 0; ; ) {
      const n = pread(this.#fd, piece, PIECE, HEADER_SIZE + at);
      if (isErrno(n)) throw systemError(n, 'read', 'journal');
      for (let from = 0; from + ENTRY_SIZE <= n; from += ENTRY_SIZE) {
        const written = piece.readInt32LE(from);
        const opens = Math.max(piece.readInt32LE(from + 4), 0);
        if (written === 0 && opens === 0) continue;
        const backing = written === CACHED ? THROUGH_CACHE : written;
        yield { slot: (at + from) / ENTRY_SIZE, backing, opens, identity: piece.readUInt32LE(from + 8) };
      }
      if (n < PIECE) return;
      at += n;
    }
  }
}
