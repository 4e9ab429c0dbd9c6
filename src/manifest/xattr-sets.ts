/** The xattrs of a manifest that is built. */
import { compareBytes, latin1 } from '../base/bytes.ts';
import { BlobWriter, type ColumnWriter } from './column-writer.ts';
import { GrowableU32 } from './growable.ts';
import { NONE } from './tables.ts';

export type Xattr = readonly [name: Uint8Array, value: Uint8Array];

/** Distinct xattr sets, found by their bytes. */
export class XattrSets {
  readonly #sets: (readonly Xattr[])[] = [];
  readonly #index = new Map<string, number>();

  /** @returns the number of the set, in the order of the calls; NONE for no xattrs */
  add(xattrs: readonly Xattr[]): number {
    if (xattrs.length === 0) return NONE;
    const sorted = xattrs.toSorted((a, b) => compareBytes(a[0], b[0]));
    const key = sorted.map(([name, value]) => `${latin1(name)}\0${value.length}\0${latin1(value)}`).join('');
    let index = this.#index.get(key);
    if (index === undefined) {
      index = this.#sets.push(sorted) - 1;
      this.#index.set(key, index);
    }
    return index;
  }

  /**
   * Writes the sets in the order of their first use.
   * @param used the set of each inode
   * @returns the row of the set of each inode
   */
  write(columns: ColumnWriter, used: Uint32Array): Uint32Array {
    const rowOf = new Uint32Array(this.#sets.length).fill(NONE);
    const inOrder: (readonly Xattr[])[] = [];
    const rows = used.map((set) => {
      if (set === NONE) return NONE;
      if (rowOf[set] === NONE) rowOf[set] = inOrder.push(this.#sets[set] as readonly Xattr[]) - 1;
      return rowOf[set] as number;
    });
    const first = new GrowableU32();
    const names = new BlobWriter();
    const values = new BlobWriter();
    let count = 0;
    for (const set of inOrder) {
      first.push(count);
      for (const [name, value] of set) {
        names.add(name);
        values.add(value);
        count++;
      }
    }
    first.push(count);
    columns.put('xattrs.first', first.view());
    columns.putBlobs('xattrs.nameOffset', 'xattrs.names', names);
    columns.putBlobs('xattrs.valueOffset', 'xattrs.values', values);
    return rows;
  }
}
