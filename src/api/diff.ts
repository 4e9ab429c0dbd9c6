/**
 * The differences between two images.
 * @module
 */
import { type Aspect, type Change, diffTables, type Entry } from '../manifest/diff/diff.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { stopIfAborted } from './arguments.ts';
import { ImageEntry } from './entry.ts';
import { type Image, openImage } from './image.ts';
import { IMAGE_TABLES } from './image-tables.ts';

/**
 * The kinds of change of a file: in its type, content, mode, owner, mtime, xattrs or links.
 * @example
 * import { type Difference, diffImages } from '@cfs-images/cfs/diff';
 *
 * const contents: Difference = 'content';
 * for (const { kind, what } of diffImages('/srv/rootfs.cfs', '/srv/newer.cfs')) {
 *   console.log(kind, what.includes(contents));
 * }
 */
export type Difference = Aspect;

/**
 * One change. `docs/diff.md` defines each kind.
 * @example
 * import { diffImages, type ImageChange } from '@cfs-images/cfs/diff';
 *
 * const changes = [...diffImages('/srv/rootfs.cfs', '/srv/newer.cfs')];
 * const added: ImageChange[] = changes.filter(({ kind }) => kind === 'added');
 * console.log(added.map(({ path }) => path));
 */
export interface ImageChange {
  readonly kind: 'added' | 'removed' | 'changed' | 'renamed';
  /** The current path; if it was removed, the old one. */
  readonly path: string;
  /** In the old image; undefined if it was added. */
  readonly old?: ImageEntry;
  /** In the new image; undefined if it was removed. */
  readonly new?: ImageEntry;
  /** The changes of the file; empty if it was added or removed. */
  readonly what: readonly Difference[];
  /** Entries that were renamed along with a directory. */
  readonly below: number;
}

/**
 * Options of the comparison.
 * @example
 * import { type DiffOptions, diffImages } from '@cfs-images/cfs/diff';
 *
 * const options: DiffOptions = { signal: AbortSignal.timeout(60_000), onProgress: (changes) => console.log(changes) };
 * console.log([...diffImages('/srv/rootfs.cfs', '/srv/newer.cfs', options)].length);
 */
export interface DiffOptions {
  /** Checked at the beginning, and before each change. */
  readonly signal?: AbortSignal;
  /** Called with the number of changes so far, before each of them. */
  readonly onProgress?: (changes: number) => void;
}

/**
 * The changes from one image to another, in path order. Needs no repository. Synchronous: most of the work is done
 * before the first change, a second for a million files.
 * @param from, to images, or their files
 * @throws CfsError (image) if a file is not an image, `interrupted` if the signal was aborted
 * @example
 * import { diffImages } from '@cfs-images/cfs/diff';
 *
 * for (const { kind, path, what } of diffImages('/srv/rootfs.cfs', '/srv/newer.cfs')) console.log(kind, path, ...what);
 */
export function* diffImages(
  from: Image | string,
  to: Image | string,
  { signal, onProgress }: DiffOptions = {},
): Generator<ImageChange, void, undefined> {
  stopIfAborted(signal);
  const [old, now] = [from, to].map((image) =>
    IMAGE_TABLES.get(typeof image === 'string' ? openImage(image) : image),
  ) as [ManifestTables, ManifestTables];
  let changes = 0;
  for (const change of diffTables(old, now)) {
    stopIfAborted(signal);
    onProgress?.(++changes);
    yield changeOf(change, old, now);
  }
}

function changeOf(change: Change, oldTables: ManifestTables, newTables: ManifestTables): ImageChange {
  const { kind } = change;
  const old = 'old' in change ? entryOf(change.old, oldTables) : undefined;
  const now = 'new' in change ? entryOf(change.new, newTables) : undefined;
  return {
    kind,
    path: ((now ?? old) as ImageEntry).path,
    ...(old && { old }),
    ...(now && { new: now }),
    what: 'what' in change ? change.what : [],
    below: 'below' in change ? change.below : 0,
  };
}

const entryOf = ({ row, path }: Entry, tables: ManifestTables): ImageEntry => new ImageEntry(tables, row, path);
