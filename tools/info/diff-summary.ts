/** The counts of `cfs-info diff --stat`. */

import { S_IFREG } from '../../src/base/stat-bits.ts';
import { sameDigests } from '../../src/manifest/diff/contents.ts';
import { ASPECTS, type Aspect, type Change } from '../../src/manifest/diff/diff.ts';
import { lookupPath, objectOf, walkTree } from '../../src/manifest/lookup.ts';
import { type ManifestTables, NONE, objectCount, u64 } from '../../src/manifest/tables.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import { typeOf } from './inode.ts';

interface Sizes {
  entries: number;
  /** Of these, regular files. */
  files: number;
  /** The sizes of those files; of one with several names, for each of them. */
  bytes: number;
}

/** The output of `--stat --json`. */
export interface DiffCounts {
  readonly added: Readonly<Sizes>;
  readonly removed: Readonly<Sizes>;
  /** The number of entries, and the number for each aspect. */
  readonly changed: { readonly entries: number; readonly files: number } & Readonly<Record<Aspect, number>>;
  /** `below`: the number of entries that were renamed along with their directory. */
  readonly renamed: { readonly entries: number; readonly files: number; readonly below: number };
  /** Distinct objects of the new image, and their bytes. */
  readonly objects: number;
  readonly objectBytes: number;
  /** Of these, those that the old image does not name. */
  readonly newObjects: number;
  readonly newBytes: number;
}

export class DiffSummary {
  readonly #old: ManifestTables;
  readonly #new: ManifestTables;
  readonly #added: Sizes = { entries: 0, files: 0, bytes: 0 };
  readonly #removed: Sizes = { entries: 0, files: 0, bytes: 0 };
  readonly #changed = {
    entries: 0,
    files: 0,
    ...(Object.fromEntries(ASPECTS.map((aspect) => [aspect, 0])) as Record<Aspect, number>),
  };
  readonly #renamed = { entries: 0, files: 0, below: 0 };

  constructor(old: ManifestTables, now: ManifestTables) {
    this.#old = old;
    this.#new = now;
  }

  add(change: Change): void {
    switch (change.kind) {
      case 'added':
        count(this.#added, this.#new, change.new.row);
        break;
      case 'removed':
        count(this.#removed, this.#old, change.old.row);
        break;
      case 'changed':
        this.#changed.entries++;
        if (isFile(this.#new, change.new.row)) this.#changed.files++;
        for (const aspect of change.what) this.#changed[aspect]++;
        break;
      case 'renamed':
        this.#renamed.entries++;
        if (isFile(this.#new, change.new.row)) this.#renamed.files++;
        this.#renamed.below += change.below;
    }
  }

  /** @param paths the objects of the new image below these; all if there is none */
  counts(paths: readonly Uint8Array[]): DiffCounts {
    const wanted = paths.length === 0 ? undefined : objectsBelow(this.#new, paths);
    const known = new Uint8Array(objectCount(this.#new));
    for (const object of sameDigests(this.#old, this.#new)) if (object !== NONE) known[object] = 1;
    const sums = { objects: 0, objectBytes: 0, newObjects: 0, newBytes: 0 };
    for (let object = 0; object < known.length; object++) {
      if (wanted !== undefined && wanted[object] === 0) continue;
      const size = u64(this.#new.objects.size, object);
      sums.objects++;
      sums.objectBytes += size;
      if (known[object] === 1) continue;
      sums.newObjects++;
      sums.newBytes += size;
    }
    return { added: this.#added, removed: this.#removed, changed: this.#changed, renamed: this.#renamed, ...sums };
  }
}

const isFile = (tables: ManifestTables, row: number): boolean => typeOf(tables, row) === S_IFREG;

function count(sizes: Sizes, tables: ManifestTables, row: number): void {
  sizes.entries++;
  if (!isFile(tables, row)) return;
  sizes.files++;
  sizes.bytes += u64(tables.inodes.size, row);
}

/** 1 for each object that a file at or below one of `paths` has. */
function objectsBelow(tables: ManifestTables, paths: readonly Uint8Array[]): Uint8Array {
  const found = new Uint8Array(objectCount(tables));
  for (const path of paths) {
    const start = lookupPath(tables, path);
    if (start < 0) continue;
    walkTree(
      tables,
      ({ row }) => {
        const object = objectOf(tables, row);
        if (object >= 0) found[object] = 1;
      },
      start,
    );
  }
  return found;
}

/** The counts as lines for people. */
export function textOfCounts(counts: DiffCounts): string {
  const { added, removed, changed, renamed } = counts;
  const sizes = ({ entries, files, bytes }: Sizes): string =>
    `${formatCounted(entries, 'entry', 'entries')}, ${formatCounted(files, 'file')}, ${formatBytes(bytes)}`;
  const aspects = ASPECTS.filter((aspect) => changed[aspect] > 0).map(
    (aspect) => `${aspect} ${formatCount(changed[aspect])}`,
  );
  const along = renamed.below > 0 ? `, and ${formatCount(renamed.below)} with their directories` : '';
  return [
    `added    ${sizes(added)}`,
    `removed  ${sizes(removed)}`,
    `changed  ${formatCounted(changed.entries, 'entry', 'entries')}, ${formatCounted(changed.files, 'file')}${aspects.length > 0 ? `: ${aspects.join(', ')}` : ''}`,
    `renamed  ${formatCounted(renamed.entries, 'entry', 'entries')}, ${formatCounted(renamed.files, 'file')}${along}`,
    `objects  ${formatCount(counts.objects)} (${formatBytes(counts.objectBytes)}), of these new ${formatCount(counts.newObjects)} (${formatBytes(counts.newBytes)})`,
    '',
  ].join('\n');
}
