/** The part of a rebase that looks at the upper layer of a mount whose server has ended, and at its table. */
import { EIO } from '../../base/errno.ts';
import type { ManifestTables } from '../../manifest/tables.ts';
import { systemError } from '../../system/libc.ts';
import type { IdentityTable } from '../../upper/identity-table.ts';
import { completeTable } from '../changes/complete-table.ts';
import { Layer } from '../layer.ts';
import type { LayerParts } from '../layer-parts.ts';
import { cleanAfterServer, SEARCH } from '../layer-search.ts';
import { fillNextTable } from './next-table.ts';
import { type HasContent, type Plan, Planner } from './planner.ts';
import type { Refusal } from './rows.ts';

export type { HasContent, Plan } from './planner.ts';

export class RebasedLayer {
  readonly #layer: Layer;

  /** @param parts of the mount as it is: the old image and its table, which no thread uses */
  constructor(parts: LayerParts) {
    this.#layer = new Layer(parts, SEARCH);
  }

  /**
   * Plans to put `next` in the place of the image. Nothing is changed that is seen.
   * @returns the reasons against it, if there are any. Throws a `systemError` if the upper layer cannot be read.
   */
  plan(next: ManifestTables, hasContent: HasContent): Plan | readonly Refusal[] {
    const layer = this.#layer;
    return layer.state.hold(() => {
      cleanAfterServer(layer);
      completeTable(layer);
      if (!layer.state.isComplete) throw systemError(EIO, 'read', 'the upper directory');
      const planner = new Planner(layer, next, hasContent);
      return planner.plan() ?? planner.refusals;
    });
  }

  /**
   * Closes the files that the kernel keeps for the next reader, of those that are no longer in the upper layer.
   * @param close called with each: the number that the kernel has for it; recorded as closed before
   */
  closeDropped({ dropped }: Plan, record: (row: number, ino: number) => void, close: (backing: number) => void): void {
    const { table } = this.#layer;
    for (const { row } of dropped) {
      const backing = table.backing(row);
      if (backing <= 0) continue;
      record(row, table.id(row));
      table.setBacking(row, 0);
      close(backing);
    }
  }

  /**
   * Fills the table that is to follow.
   * @param next with the identities of the mount
   * @returns false if there is no room
   */
  fill(table: IdentityTable, next: ManifestTables, { kept, dropped }: Plan): boolean {
    return fillNextTable(this.#layer.table, table, next, kept, dropped);
  }
}
