/** Objects of an image that local repositories lack: fetching them from remote ones, or only asking for them. */
import { eachAtOnce } from '../base/each-at-once.ts';
import { objectName } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { Repository } from '../objects/repository.ts';
import { ALONE, framesOf } from '../remote/map-format.ts';
import { objectFile, packName } from '../remote/tree-names.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import type { CopyOptions } from './copy-objects.ts';
import {
  copyFromEach,
  fetchObjects,
  type NewlyCopied,
  type RemoteSource,
  type WantedObjects,
} from './remote-objects.ts';

export interface MissingObjects {
  readonly image: WantedObjects['image'];
  /** Their rows; each may come several times. */
  readonly objects: Iterable<number>;
  /** Repositories that may have them. */
  readonly locals: readonly Repository[];
}

/** The rows of the objects that no repository has, ascending. An object of another size is damaged. */
export function absentFrom(
  repositories: readonly Repository[],
  tables: ManifestTables,
  objects: Iterable<number>,
): number[] {
  const rows = [...new Set(objects)].sort((a, b) => a - b);
  return rows.filter((row) => {
    const { digest, size } = objectName(tables, row);
    return repositories.every((repository) => repository.size(digest) !== size);
  });
}

/**
 * Fetches what no local repository has into an empty one: from each source what those before it did not give.
 * @throws CfsError (store) if it cannot be written; the reason of the signal
 */
export async function fetchMissing(
  sources: readonly RemoteSource[],
  target: LocalRepository,
  { image, objects, locals, ...options }: MissingObjects & CopyOptions,
): Promise<NewlyCopied> {
  const rows = absentFrom(locals, image.tables, objects);
  const lock = await lockForWriting(target, options.signal);
  try {
    return await copyFromEach(
      sources,
      [{ image, rows }],
      (source, left, onProgress) => fetchObjects(source, target, left, { ...options, onProgress }),
      options.onProgress,
    );
  } finally {
    lock.release();
  }
}

/**
 * Asks a remote repository for objects, and fetches none: by the files that have them.
 * @param rows of objects of the image
 * @returns those of them that it has
 * @throws CfsError (store) if it cannot be asked; the reason of the signal
 */
export async function objectsThere(
  { remote, http }: RemoteSource,
  { id, tables }: WantedObjects['image'],
  rows: readonly number[],
  signal?: AbortSignal,
): Promise<ReadonlySet<number>> {
  const map = rows.length === 0 ? undefined : await remote.map(id, tables, signal);
  const filesOf = (row: number): string[] => {
    const { digest, size } = objectName(tables, row);
    const first = map?.frameOf[row] ?? ALONE;
    if (map === undefined || first === ALONE) return [objectFile(digest)];
    const packs = new Set(map.frames.pack.subarray(first, first + framesOf(size)));
    return [...packs].map((pack) => packName((map.packs[pack] as (typeof map.packs)[0]).digest));
  };
  const files = new Map(rows.map((row) => [row, filesOf(row)] as const));
  const names = [...new Set([...files.values()].flat())];
  const there = new Set<string>();
  await eachAtOnce(names, http.connections, async (name) => {
    if (await remote.has(name, signal)) there.add(name);
  });
  return new Set(rows.filter((row) => files.get(row)?.every((name) => there.has(name)) === true));
}
