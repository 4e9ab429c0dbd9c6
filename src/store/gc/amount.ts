/** Sums of the sizes of objects. */
import type { FileStat } from '../../system/file-status.ts';

/** Files and their sizes; `diskBytes` as allocated by the file system. */
export interface Amount {
  readonly objects: number;
  readonly bytes: number;
  readonly diskBytes: number;
}

export type MutableAmount = { -readonly [K in keyof Amount]: Amount[K] };

export const nothing = (): MutableAmount => ({ objects: 0, bytes: 0, diskBytes: 0 });

/** The unit of st_blocks. */
export const BLOCK = 512;

export const countFile = (amount: MutableAmount, { size, blocks }: Pick<FileStat, 'size' | 'blocks'>): void =>
  count(amount, size, blocks * BLOCK);

export function sumOf(amounts: readonly Amount[]): Amount {
  const sum = nothing();
  for (const { objects, bytes, diskBytes } of amounts) {
    sum.objects += objects;
    sum.bytes += bytes;
    sum.diskBytes += diskBytes;
  }
  return sum;
}

export const difference = (a: Amount, b: Amount): Amount => ({
  objects: a.objects - b.objects,
  bytes: a.bytes - b.bytes,
  diskBytes: a.diskBytes - b.diskBytes,
});

/** Adds one object. */
export function count(amount: MutableAmount, bytes: number, diskBytes: number): void {
  amount.objects++;
  amount.bytes += bytes;
  amount.diskBytes += diskBytes;
}
