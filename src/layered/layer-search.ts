/** The common part of all views of an upper layer: the search for inodes, and cleaning up after a server. */
import { confirmRow } from './earlier-rows.ts';
import { restoreFilled } from './fill-notes.ts';
import { isShownAt } from './image-places.ts';
import type { Layer, Search } from './layer.ts';
import { sweepOrphans } from './orphans.ts';
import { findId, findRow } from './scan.ts';
import { sweepTemporaries } from './temporary.ts';

export const SEARCH: Search = { id: findId, row: findRow, confirm: confirmRow, isShown: isShownAt };

/** Deletes what the last server left unfinished, and inodes that the kernel has forgotten since. Under the lock. */
export function cleanAfterServer(layer: Layer): void {
  sweepTemporaries(layer);
  restoreFilled(layer);
  sweepOrphans(layer);
}
