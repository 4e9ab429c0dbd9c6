/** Opens and backing ids of inodes, in the table of identities: `OpenTable` of the kernel driver. */
import { ORPHAN } from '../upper/identity-table.ts';
import type { Layer } from './layer.ts';
import { OUTDATED } from './layer-rows.ts';

/** The word of a row for the driver; LOWER and ADDITIONS are the others. */
const MARK = 2;

export class LayerOpenTable {
  readonly #layer: Layer;
  /** Called before a backing id changes. */
  record: (row: number, ino: number, backing: number) => void = () => undefined;

  constructor(layer: Layer) {
    this.#layer = layer;
  }

  /** The row of an inode that the kernel knows; one of the image gets a row when it is first opened. */
  find(ino: number): number {
    const layer = this.#layer;
    const { state, table, tables } = layer;
    return state.hold(() => {
      const row = table.find(ino);
      if (row >= 0) return row;
      const lower = layer.rowInImage(ino);
      return lower < 0 ? -1 : table.add(ino, tables.inodes.generation[lower] as number);
    });
  }

  opens(row: number): number {
    return this.#layer.table.opens(row);
  }

  addOpens(row: number, change: number): number {
    return this.#layer.table.addOpens(row, change);
  }

  backing(row: number): number {
    return this.#layer.table.backing(row);
  }

  setBacking(row: number, backing: number): void {
    const { table } = this.#layer;
    if (table.backing(row) === backing) return;
    this.record(row, table.id(row), backing);
    table.setBacking(row, backing);
  }

  mark(row: number): number {
    return this.#layer.table.extra(row, MARK);
  }

  setMark(row: number, mark: number): void {
    this.#layer.table.setExtra(row, MARK, mark);
  }

  takeOutdated(row: number): boolean {
    const { table } = this.#layer;
    if ((table.flags(row) & OUTDATED) === 0) return false;
    table.setFlags(row, 0, OUTDATED);
    return true;
  }

  isNamed(row: number): boolean {
    return (this.#layer.table.flags(row) & ORPHAN) === 0;
  }
}
