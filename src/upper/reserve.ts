/**
 * Room on the disk for memory that is a mapped file with holes. A store to a hole of a file on a full disk is a SIGBUS,
 * which ends the server, and the next server as well. So room is reserved first, as by fallocate(2).
 */

/** Makes sure that bytes of the memory can be stored to; false if they cannot, because the disk is full. */
export type Reserve = (offset: number, length: number) => boolean;

/** 256 KiB, in words. */
const PIECE = 0x1_0000;

/**
 * Whether the first `needed` words of an area can be stored to.
 * @param doneAt the word that says how many of them are known to be so
 * @param most the words of the area
 */
export function isReserved(
  words: Int32Array,
  doneAt: number,
  areaAt: number,
  needed: number,
  most: number,
  reserve: Reserve | undefined,
): boolean {
  if (reserve === undefined) return true;
  const done = Math.max(words[doneAt] as number, 0);
  if (needed <= done) return true;
  const end = Math.min(Math.ceil(needed / PIECE) * PIECE, most);
  if (!reserve((areaAt + done) * 4, (end - done) * 4)) return false;
  words[doneAt] = end;
  return true;
}
