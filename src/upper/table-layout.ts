/**
 * The positions of the parts of a table of identities: see "The table of identities" in docs/writable.md. All offsets
 * are in words of 32 bits, in the byte order of the machine, unless their name says bytes.
 */
import { JOURNAL_WORDS } from './word-journal.ts';

/** Words of the header. */
export const MAGIC = 0;
export const VERSION = 2;
export const CAPACITY = 3;
export const CLEAN = 4;
export const UPPER_KEY = 8;
/** From here on words change by the journal. */
export const COUNT = 16;
/** Rows below this number have been used. */
export const ROWS_USED = 17;
/** The first free row plus 1; 0 for none. */
export const FREE_ROW = 18;
/** The row that is being removed plus 1; 0 for none. */
export const DYING = 19;
/** Cells up to this number have been used. */
export const CELLS_USED = 20;
/** The first free cell; 0 for none. */
export const FREE_CELL = 21;
/** How many cells are in the list of free ones. */
export const FREE_CELLS = 22;
const JOURNALED_END = 23;
/** Words of rows and of cells that have room on the disk; used only with a function that reserves it. */
export const ROWS_RESERVED = 24;
export const CELLS_RESERVED = 25;
/** The number that marks of changes have now, from 1, and whether any mark has it. */
export const CHANGE_NUMBER = 26;
export const IS_MARKED = 27;
/** Two random words: marks of another table mean nothing. */
export const CHANGE_ERA = 28;
export const JOURNAL = 32;
/** Whole pages. */
const HEADER_WORDS = 1024;

/** "cfs-ids" and a NUL, as two words of a little-endian machine: a big-endian machine does not recognize them. */
export const MAGIC_WORDS: readonly [number, number] = [0x2d736663, 0x00736469];
export const FORMAT_VERSION = 2;
export const UPPER_KEY_BYTES = 32;

/** Words of a row. */
export const ID_LOW = 0;
export const ID_HIGH = 1;
/** The next row in the chain of the id, or in the list of free rows, plus 1. */
export const ID_NEXT = 2;
export const FLAGS = 3;
export const GENERATION = 4;
export const UPPER_LOW = 5;
export const UPPER_HIGH = 6;
/** The next row in the chain of the upper inode, plus 1. */
export const UPPER_NEXT = 7;
/** The cell that begins the newest name; 0 for none. */
export const NAMES = 8;
export const NAME_COUNT = 9;
export const REFERENCES = 10;
export const OPENS = 11;
export const BACKING = 12;
export const EXTRA = 13;
export const EXTRAS = 4;
/** The mark of the last change of the inode, and of the last move of the directory. */
export const CHANGED = 17;
export const MOVED = 18;
export const ROW_WORDS = 20;

/** Of FLAGS: the row is in use. */
export const LIVE: number = 0x8000_0000 | 0;

/** Words of a cell. The first one is its link: the next cell of the name, or of the list of free ones. */
export const CELL_WORDS = 8;
/** Of the first cell of a name: the first cell of the row's next name; 0 for none. */
export const NEXT_RECORD = 1;
/** Of the first cell of a name: the lower word of the directory's id. */
export const PARENT_LOW = 2;
/** Of the first cell of a name: its length, then the upper 20 bits of the directory's id. */
export const LENGTH = 3;
export const LENGTH_SHIFT = 20;
export const PARENT_HIGH: number = (1 << LENGTH_SHIFT) - 1;
export const CELL_BYTES: number = CELL_WORDS * 4;
/** Bytes before those of the name, in the first cell and in the others. */
export const CELL_HEAD = 16;
export const CELL_LINK = 4;

/** The longest name that FUSE allows. */
export const LONGEST_NAME = 1024;

/** How many cells a name of `length` bytes takes. */
export const cellsFor = (length: number): number =>
  length <= CELL_BYTES - CELL_HEAD ? 1 : 1 + Math.ceil((length - (CELL_BYTES - CELL_HEAD)) / (CELL_BYTES - CELL_LINK));

/** Cells for names, for each row: enough for names of 100 bytes on average. */
const CELLS_PER_ROW = 4;

/** With more, offsets would not fit in 31 bits. */
export const MOST_INODES: number = 0x100_0000;

export interface Layout {
  readonly capacity: number;
  /** Buckets of each of both indexes: a power of two. */
  readonly buckets: number;
  readonly idBucketsAt: number;
  readonly upperBucketsAt: number;
  readonly rowsAt: number;
  readonly cellsAt: number;
  readonly cells: number;
  readonly words: number;
}

const PAGE_WORDS = 1024;
const wholePages = (words: number): number => Math.ceil(words / PAGE_WORDS) * PAGE_WORDS;

/** Throws a RangeError unless 1 <= `capacity` <= MOST_INODES. */
export function layoutOf(capacity: number): Layout {
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > MOST_INODES) {
    throw new RangeError(`a table of identities for ${capacity} inodes: 1 to ${MOST_INODES} are possible`);
  }
  let buckets = PAGE_WORDS;
  while (buckets < capacity) buckets *= 2;
  const idBucketsAt = HEADER_WORDS;
  const upperBucketsAt = idBucketsAt + buckets;
  const rowsAt = upperBucketsAt + buckets;
  const cellsAt = wholePages(rowsAt + capacity * ROW_WORDS);
  // a few more, so that a small table can hold the longest names, too
  const cells = capacity * CELLS_PER_ROW + PAGE_WORDS;
  return {
    capacity,
    buckets,
    idBucketsAt,
    upperBucketsAt,
    rowsAt,
    cellsAt,
    cells,
    words: wholePages(cellsAt + cells * CELL_WORDS),
  };
}

/** Whether the journal may say that this word changes. */
export const isJournaled = (index: number, { idBucketsAt, words }: Layout): boolean =>
  (index >= COUNT && index < JOURNALED_END) || (index >= idBucketsAt && index < words);

/** Bytes of memory for a table of `inodes`: a multiple of 4096. Pages that are not used yet stay untouched. */
export const tableBytes = (inodes: number): number => layoutOf(inodes).words * 4;

/** The number of first bytes that any use may touch, in any order. The rest is used from its beginning to its end. */
export const scatteredBytes = (inodes: number): number => layoutOf(inodes).rowsAt * 4;

if (JOURNAL + JOURNAL_WORDS > HEADER_WORDS) throw new Error('the header is too short for the journal');
