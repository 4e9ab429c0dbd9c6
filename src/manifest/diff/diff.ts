/**
 * The differences between the trees of two images, computed from their tables alone: entries that were added, removed,
 * changed and renamed. docs/diff.md defines these.
 */

import { DirentPaths } from '../dirent-paths.ts';
import { isDirectory } from '../lookup.ts';
import { type ManifestTables, NONE } from '../tables.ts';
import { type Aspect, aspectsOf, LINKS } from './aspects.ts';
import { InodeComparison } from './inodes.ts';
import { LinkGroups } from './links.ts';
import { findRenames, type Renames } from './renames.ts';
import { type Differences, findDifferences } from './walk.ts';

export type { Aspect } from './aspects.ts';
export { ASPECTS } from './aspects.ts';

/** A name in one of the trees. */
export interface Entry {
  /** Its inode's row. */
  readonly row: number;
  /** Absolute; "/" for the root. */
  readonly path: Uint8Array;
}

/** One line of a diff. */
export type Change =
  | { readonly kind: 'added'; readonly new: Entry }
  | { readonly kind: 'removed'; readonly old: Entry }
  | {
      readonly kind: 'changed';
      readonly old: Entry;
      /** Has the path of `old`, or is in a directory that was renamed before. */
      readonly new: Entry;
      /** At least one, in the order of `ASPECTS`. */
      readonly what: readonly Aspect[];
    }
  | {
      readonly kind: 'renamed';
      readonly old: Entry;
      readonly new: Entry;
      /** Its other changes: if it is not a directory, only its links can have changed. */
      readonly what: readonly Aspect[];
      /** Entries that were renamed along with their directory. Only changed ones have a line of their own. */
      readonly below: number;
    };

/**
 * The changes from `old` to `now`, in path order of both trees together; a renamed entry is listed at its new path.
 * Trees without a change are equal in names, metadata, content, and in the names of each inode. Stable ids,
 * generations, the place of contents (inline or in objects), and the repositories of the header are ignored.
 *
 * The work is linear in the two tables and in the paths of the changes. Most of it is done before the first change is
 * yielded.
 * @param old, now validated tables. Images of different `hash` are compared by the hashes of their contents' blocks
 */
export function* diffTables(old: ManifestTables, now: ManifestTables): Generator<Change, void, undefined> {
  const inodes = new InodeComparison(old, now);
  const links = new LinkGroups(old, now);
  const rows = findDifferences(old, now, inodes, links);
  const renames = findRenames(rows, inodes);
  addRenamed(rows, renames, links);
  yield* changes(rows, renames, links);
}

/** Names that were renamed count as the same names of an inode. */
function addRenamed(rows: Differences, renames: Renames, links: LinkGroups): void {
  for (let row = 0; row < rows.length; row++) {
    const partner = renames.partner(row);
    if (partner === NONE || !rows.came(row)) continue;
    const oldRow = rows.oldInode(partner);
    const newRow = rows.newInode(row);
    if (links.areSingle(oldRow, newRow)) continue;
    if (!isDirectory(rows.old, oldRow) && !isDirectory(rows.now, newRow)) links.add(oldRow, newRow);
  }
}

const ROOT: Entry = { row: 0, path: Uint8Array.of(0x2f) };

function* changes(rows: Differences, renames: Renames, links: LinkGroups): Generator<Change, void, undefined> {
  const oldPaths = new DirentPaths(rows.old);
  const newPaths = new DirentPaths(rows.now);
  const oldEntry = (row: number): Entry => ({ row: rows.oldInode(row), path: oldPaths.pathOf(rows.oldDirent(row)) });
  const newEntry = (row: number): Entry => ({ row: rows.newInode(row), path: newPaths.pathOf(rows.newDirent(row)) });
  if (rows.root !== 0) yield { kind: 'changed', old: ROOT, new: ROOT, what: aspectsOf(rows.root) };
  for (let row = 0; row < rows.length; row++) {
    const partner = rows.isCommon(row) ? row : renames.partner(row);
    if (partner === NONE) {
      yield rows.came(row) ? { kind: 'added', new: newEntry(row) } : { kind: 'removed', old: oldEntry(row) };
      continue;
    }
    if (rows.went(row)) continue; // listed at its new path
    const aspects = rows.aspects(row) | linkAspect(rows, partner, row, links);
    const renamed = rows.came(row) && !renames.cameAlong(row);
    if (!renamed && aspects === 0) continue;
    const both = { old: oldEntry(partner), new: newEntry(row), what: aspectsOf(aspects) };
    yield renamed ? { kind: 'renamed', ...both, below: renames.below(row) } : { kind: 'changed', ...both };
  }
}

/** LINKS if the name `oldRow` of the old tree and `newRow` of the new one have an inode with other names. */
function linkAspect(rows: Differences, oldRow: number, newRow: number, links: LinkGroups): number {
  const before = rows.oldInode(oldRow);
  const after = rows.newInode(newRow);
  if (links.areSingle(before, after)) return 0;
  if (isDirectory(rows.old, before) || isDirectory(rows.now, after)) return 0;
  return links.same(before, after) ? 0 : LINKS;
}
