/** The identities that inodes of the new image have in a mount. */
import type { InodeIdentity } from '../../base/handle-format.ts';
import { type ManifestTables, u64 } from '../../manifest/tables.ts';

export class NewIdentities {
  readonly #next: ManifestTables;
  /** By rows of the new image's tables, where they differ from those of the image. */
  readonly byRow: Map<number, InodeIdentity> = new Map();

  /** @param next the tables of the new image */
  constructor(next: ManifestTables) {
    this.#next = next;
  }

  give(now: number, identity: InodeIdentity): void {
    const { id, generation } = this.#next.inodes;
    if (u64(id, now) === identity.id && generation[now] === identity.generation) return;
    this.byRow.set(now, identity);
  }

  idOf(now: number): number {
    return this.byRow.get(now)?.id ?? u64(this.#next.inodes.id, now);
  }
}
