/** Compares ascending lists of digests, which avoids a set of a million strings. */
import { DIGEST_SIZE } from '../../base/digest.ts';
import { OBJECT_NAME, prefixName } from '../layout.ts';
import type { StoreDirectory } from '../store-directory.ts';

const nothing = (): void => undefined;

/**
 * Compares two lists of digests, 32 bytes each, ascending, none twice.
 * @param onBoth called with the row in `own` of each digest that is in both
 * @param onlyInList called with each digest that is in `list` alone; a view
 */
export function mergeDigests(
  own: Uint8Array,
  list: Uint8Array,
  onBoth: (row: number) => void,
  onlyInList: (digest: Uint8Array) => void = nothing,
): void {
  const [a, b] = [own, list].map((all) => Buffer.from(all.buffer, all.byteOffset, all.length)) as [Buffer, Buffer];
  let from = 0;
  for (let at = 0; at < b.length; ) {
    const order = from < a.length ? a.compare(b, at, at + DIGEST_SIZE, from, from + DIGEST_SIZE) : 1;
    if (order < 0) from += DIGEST_SIZE;
    else {
      if (order === 0) onBoth(from / DIGEST_SIZE);
      else onlyInList(list.subarray(at, at + DIGEST_SIZE));
      at += DIGEST_SIZE;
    }
  }
}

/** The digests of objects in the directory of `prefix`, from their names, in the same order. */
export function digestsOfNames(prefix: number, names: readonly string[]): Uint8Array {
  return Buffer.from(names.map((name) => prefixName(prefix) + name).join(''), 'hex');
}

/** The names of objects in a directory of them, sorted. */
export const objectNames = (directory: StoreDirectory): string[] =>
  directory
    .names()
    .filter((name) => OBJECT_NAME.test(name))
    .sort();
