/**
 * A copy of the backing ids of a writable mount, in the file in memory that a read-only mount has its OpenFileJournal
 * in. The ids are in the table of identities, on a disk, which may be damaged when the next server finds it; while a
 * file is open the kernel accepts no other id for it. Written before an id is used, and 0 before it is closed.
 */
import { isErrno } from '../base/errno.ts';
import { truncateFd } from '../system/file-content-calls.ts';
import { systemError } from '../system/libc.ts';
import { pread, pwrite } from '../system/reading-writing.ts';

/** Before the entries: the number of servers, of OpenFileJournal. */
const HEADER_SIZE = 16;
/** The id in 8 bytes, the backing id, a free word. */
const ENTRY_SIZE = 16;
const PIECE = ENTRY_SIZE * 4096;
const TWO_TO_32 = 0x1_0000_0000;

/** An inode that may be open. */
export interface BackedInode {
  readonly id: number;
  /** As `OpenTable.backing`, never 0. */
  readonly backing: number;
}

export class BackingJournal {
  readonly #fd: number;
  readonly #entry: Buffer = Buffer.alloc(ENTRY_SIZE);

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(row: number, id: number, backing: number): void {
    const entry = this.#entry;
    entry.writeUInt32LE(id % TWO_TO_32, 0);
    entry.writeUInt32LE(Math.floor(id / TWO_TO_32), 4);
    entry.writeInt32LE(backing, 8);
    const written = pwrite(this.#fd, entry, HEADER_SIZE + row * ENTRY_SIZE);
    // ENOMEM at worst: a server that continued with it might answer wrongly, so none may
    if (written !== ENTRY_SIZE) throw new Error(`cannot record a backing id: ${written}`);
  }

  /** All entries, which are removed: rows of another table follow. */
  take(): BackedInode[] {
    const found: BackedInode[] = [];
    const piece = Buffer.alloc(PIECE);
    for (let at = HEADER_SIZE; ; at += PIECE) {
      const n = pread(this.#fd, piece, PIECE, at);
      if (isErrno(n)) throw systemError(n, 'read', 'journal');
      for (let from = 0; from + ENTRY_SIZE <= n; from += ENTRY_SIZE) {
        const id = piece.readUInt32LE(from + 4) * TWO_TO_32 + piece.readUInt32LE(from);
        const backing = piece.readInt32LE(from + 8);
        if (backing !== 0) found.push({ id, backing });
      }
      if (n < PIECE) break;
    }
    const emptied = truncateFd(this.#fd, HEADER_SIZE);
    if (isErrno(emptied)) throw systemError(emptied, 'truncate', 'journal');
    return found;
  }
}
