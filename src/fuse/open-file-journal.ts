/**
 * What the kernel must be told the same way by whoever serves a mount next: the backing id of each inode, and how many
 * have it open. Written to a file in memory as it changes, because the writer may be killed at any moment. A count may
 * be too high after that, which keeps an id longer than needed; never too low, which would make an open fail.
 */
import { isErrno } from '../base/errno.ts';
import { systemError } from '../system/libc.ts';
import { pread, pwrite } from '../system/syscall.ts';
import type { RestoredFile } from './open-files.ts';

const ENTRY_SIZE = 12;
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
    pread(this.#fd, header, HEADER_SIZE, 0);
    const epoch = header.readUInt32LE(0) + 1;
    header.writeUInt32LE(epoch, 0);
    if (pwrite(this.#fd, header, 0) !== HEADER_SIZE) throw new Error('cannot count the servers of the mount');
    return epoch;
  }

  write(slot: number, backing: number, opens: number, identity: number): void {
    const entry = this.#entry;
    entry.writeInt32LE(backing, 0);
    entry.writeInt32LE(opens, 4);
    entry.writeUInt32LE(identity, 8);
    const written = pwrite(this.#fd, entry, HEADER_SIZE + slot * ENTRY_SIZE);
    // ENOMEM at worst: who serves next would answer wrongly, so nobody may
    if (written !== ENTRY_SIZE) throw new Error(`cannot keep what is open: ${written}`);
  }

  /** All entries that say something. */
  *entries(): Generator<RestoredFile> {
    const piece = Buffer.alloc(PIECE);
    for (let at = 0; ; ) {
      const n = pread(this.#fd, piece, PIECE, HEADER_SIZE + at);
      if (isErrno(n)) throw systemError(n, 'read', 'journal');
      for (let from = 0; from + ENTRY_SIZE <= n; from += ENTRY_SIZE) {
        const backing = piece.readInt32LE(from);
        const opens = piece.readInt32LE(from + 4);
        if (backing === 0 && opens === 0) continue;
        yield { slot: (at + from) / ENTRY_SIZE, backing, opens, identity: piece.readUInt32LE(from + 8) };
      }
      if (n < PIECE) return;
      at += n;
    }
  }
}
