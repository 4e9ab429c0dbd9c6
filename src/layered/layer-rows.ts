/** The meaning of the words that the table of identities leaves to the file system, and new ids. */
import { randomFillSync } from 'node:crypto';
import type { InodeIdentity } from '../base/handle-format.ts';
import type { FileStatus } from '../system/file-status.ts';
import { type IdentityTable, OPAQUE } from '../upper/identity-table.ts';

// flags of a row, beside those of row-fields.ts
/** The directory was searched for a default ACL: DEFAULT_ACL has the result. */
export const ACL_KNOWN = 128;
export const DEFAULT_ACL = 256;
/** The directory has the xattr `impure`. */
export const IMPURE = 512;
/** The directory may have whiteouts that are xattrs. */
export const XATTR_WHITEOUTS = 1024;
/** The file was opened for reading and writing, and may be mapped: its times may change unseen. */
export const MAPPABLE = 2048;
/** The file is of the upper layer and has no capabilities: the kernel asks at each first write. */
export const NO_CAPABILITIES = 4096;
/** Of the root: files of the upper layer may have SELinux labels. */
export const LABELED = 8192;
/** The kernel forgot the inode while it was open: its RELEASE is to come. */
export const FORGOTTEN = 16_384;
/** The file has no name, and is reported with one link, so that it can get one. */
export const LINKABLE = 32_768;
/** The file was opened for writing: its content may change unseen until the last release. */
export const WRITTEN = 0x10_0000;
/** The kernel may have pages of the file that are older than its content in the image: it is to drop them. */
export const OUTDATED = 0x20_0000;
/** The row is of an earlier mount, and the file was not looked at since: it may be another one's. */
export const EARLIER = 65_536;
/** What was seen of a file once, and changes through this file system only. */
export const SEEN: number = ACL_KNOWN | DEFAULT_ACL | NO_CAPABILITIES;

// words of a row
/** The image's inode below it, its row + 1: of a directory that is merged, of a file that has no data of its own. */
const LOWER = 0;
/** The number of entries that were added to a directory. */
const ADDITIONS = 1;
/** The file's time of creation, a hash of it; 0 if it has none. An inode number may be used again for another file. */
const BIRTH = 3;

function birthOf({ btimeLow, btimeHigh, btimeNsec }: FileStatus): number {
  return Math.imul(btimeLow ^ Math.imul(btimeHigh, 0x85eb_ca6b), 0x9e37_79b1) ^ btimeNsec;
}

/** Notes the file of a row. */
export function setFile(table: IdentityTable, row: number, status: FileStatus): void {
  table.setUpper(row, status.inoLow, status.inoHigh);
  table.setExtra(row, BIRTH, birthOf(status));
}

/** Whether the file of a row was made at the time that is noted; false if that is not known. */
export function isBornAsNoted(table: IdentityTable, row: number, status: FileStatus): boolean {
  const birth = birthOf(status);
  return birth !== 0 && table.extra(row, BIRTH) === birth;
}

const HIGH_BITS = 0xf_ffff;
const TWO_TO_32 = 0x1_0000_0000;

/** The row in the image's tables of the inode below a row; -1 for none. */
export function lowerOf(table: IdentityTable, row: number): number {
  return (table.flags(row) & OPAQUE) !== 0 ? -1 : table.extra(row, LOWER) - 1;
}

/** @param lower -1 for none */
export const setLower = (table: IdentityTable, row: number, lower: number): void =>
  table.setExtra(row, LOWER, lower + 1);

export const additionsOf = (table: IdentityTable, row: number): number => table.extra(row, ADDITIONS);

export const countAddition = (table: IdentityTable, row: number): void =>
  table.setExtra(row, ADDITIONS, (table.extra(row, ADDITIONS) + 1) | 0);

const random = new Uint32Array(512);
let used = random.length;

function randomWord(): number {
  if (used >= random.length) {
    randomFillSync(random);
    used = 0;
  }
  return random[used++] as number;
}

/** The inodes whose ids are taken: the image's and those of the table. */
interface InodesInUse {
  readonly table: IdentityTable;
  rowInImage(ino: number): number;
}

/** A random id that neither the image nor the table has, and a random generation. The root's id and 0 are far below. */
export function newIdentity(layer: InodesInUse): InodeIdentity {
  for (;;) {
    const id = (randomWord() & HIGH_BITS) * TWO_TO_32 + randomWord();
    if (id > TWO_TO_32 && layer.rowInImage(id) < 0 && layer.table.find(id) < 0) return { id, generation: randomWord() };
  }
}
