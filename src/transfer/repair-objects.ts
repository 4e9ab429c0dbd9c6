/** Fetches objects that a repository has lost, or that were moved to quarantine, from remote repositories. */
import { fromHex } from '../base/bytes.ts';
import { ENOENT } from '../base/errno.ts';
import { CfsError } from '../base/error.ts';
import { readImage } from '../image/image-file.ts';
import { rowOfObject } from '../image/object-users.ts';
import { firstPlace, ImageFinder } from '../image/registered-image.ts';
import { openRootIfThere, registeredIds, registeredPaths } from '../store/gc/roots.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import type { CopyOptions } from './copy-objects.ts';
import { fetchObjects, type RemoteSource, type WantedObjects } from './remote-objects.ts';

export interface RepairOptions extends CopyOptions {
  /** Receives a line for people if another program keeps the repository locked for long. */
  readonly onWait?: ((line: string) => void) | undefined;
}

/** A damaged object, with its end so far. */
export interface LostObject {
  /** 64 hexadecimal digits. */
  readonly object: string;
  /** The repository that a good copy came from. */
  readonly from?: string;
  /** Why there is none. */
  readonly hindrance?: string;
}

type End = Pick<LostObject, 'from' | 'hindrance'>;
type Image = WantedObjects['image'];

/**
 * Fetches objects by the images that are registered and need them: by the file of such an image, or else by what the
 * remote repository has of this id.
 * @param damaged those with `from` are left as they are
 * @param sources in search order
 * @throws CfsError (store) if an object cannot be written; the reason of the signal
 */
export async function repairObjects<T extends LostObject>(
  repository: LocalRepository,
  damaged: readonly T[],
  sources: readonly RemoteSource[],
  options: RepairOptions,
): Promise<readonly T[]> {
  const objects = damaged.filter(({ from }) => from === undefined).map(({ object }) => object);
  if (objects.length === 0) return damaged;
  const ends = await fetchAll(repository, objects, sources, options);
  return damaged.map((each) => {
    const { from, hindrance } = ends.get(each.object) ?? {};
    const { hindrance: before, ...rest } = each;
    if (from !== undefined) return { ...rest, from } as T;
    const all = [before, hindrance].filter((part) => part !== undefined);
    return all.length === 0 ? each : { ...each, hindrance: all.join('; ') };
  });
}

/** @returns for each object the repository that it came from, or why it is missing */
async function fetchAll(
  repository: LocalRepository,
  objects: readonly string[],
  sources: readonly RemoteSource[],
  options: RepairOptions,
): Promise<ReadonlyMap<string, End>> {
  let lock: Awaited<ReturnType<typeof lockForWriting>>;
  try {
    lock = await lockForWriting(repository, options.signal, options.onWait);
  } catch (error) {
    if (!(error instanceof CfsError) || error.kind !== 'store') throw error;
    // a repository that may only be read is checked all the same
    return new Map(objects.map((object) => [object, { hindrance: error.message }] as const));
  }
  try {
    const ends = new Map<string, End>();
    const problems = new Map(objects.map((object) => [object, [] as string[]] as const));
    for (const object of objects) {
      const isAway = repository.size(fromHex(object)) === ENOENT;
      if (!isAway) ends.set(object, { hindrance: 'the damaged file could not be moved away' });
    }
    const needed = neededBy(repository, objects);
    for (const source of sources) {
      const { text } = source.remote.address;
      for (const [id, all] of needed) {
        const left = all.filter((object) => !ends.has(object));
        if (left.length === 0) continue;
        const why = await fetchOf(repository, id, left, source, options);
        for (const object of left) {
          const problem = why.get(object);
          if (problem === undefined) ends.set(object, { from: text });
          else problems.get(object)?.push(`${text}: ${problem}`);
        }
      }
    }
    for (const object of objects) {
      if (ends.has(object)) continue;
      const all = [...new Set(problems.get(object) ?? [])];
      ends.set(object, { hindrance: all.join('; ') || NOT_NEEDED });
    }
    return ends;
  } finally {
    lock.release();
  }
}

const NOT_NEEDED = 'no registered image needs it, and remote repositories are searched by images';

/** Registered images, and those of the objects that they need. */
function neededBy(repository: LocalRepository, objects: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const needed = new Map<string, readonly string[]>();
  const byPrefix = new Map<number, string[]>();
  for (const object of objects) {
    const prefix = Number.parseInt(object.slice(0, 2), 16);
    byPrefix.set(prefix, [...(byPrefix.get(prefix) ?? []), object]);
  }
  for (const id of registeredIds(repository)) {
    let list: ReturnType<typeof openRootIfThere>;
    try {
      list = openRootIfThere(repository, id);
    } catch (error) {
      // damage that is reported elsewhere
      if (error instanceof CfsError) continue;
      throw error;
    }
    if (list === undefined) continue;
    try {
      const own: string[] = [];
      for (const [prefix, some] of byPrefix) {
        const digests = Buffer.from(list.digests(prefix)).toString('hex');
        const there = new Set(digests.match(/.{64}/g));
        own.push(...some.filter((object) => there.has(object)));
      }
      if (own.length > 0) needed.set(id, own);
    } finally {
      list.close();
    }
  }
  return needed;
}

/** @returns for each object that was not fetched, why */
async function fetchOf(
  repository: LocalRepository,
  id: string,
  objects: readonly string[],
  source: RemoteSource,
  options: RepairOptions,
): Promise<ReadonlyMap<string, string>> {
  try {
    const image = localImage(repository, id) ?? (await source.remote.image(id, undefined, options.signal));
    const found = objects.map((object) => [object, rowOfObject(image.tables, fromHex(object))] as const);
    const rows = found.map(([, row]) => row).filter((row) => row >= 0);
    const { failures } = await fetchObjects(source, repository, [{ image, rows }], options);
    const why = new Map(failures.map(({ object, problem }) => [object, problem]));
    // the list of objects in the repository disagrees with its image
    for (const [object, row] of found) if (row < 0) why.set(object, `image ${id} does not have it`);
    return why;
  } catch (error) {
    if (!(error instanceof CfsError) || options.signal?.aborted === true) throw error;
    return new Map(objects.map((object) => [object, error.message]));
  }
}

/** Its file, if that is there and good. */
function localImage(repository: LocalRepository, id: string): Image | undefined {
  const path = firstPlace(new ImageFinder().look(registeredPaths(repository, id).paths, id));
  if (path === undefined) return undefined;
  try {
    const { id: found, tables } = readImage(path);
    return found === id && tables.header.hash === repository.hash ? { id, tables } : undefined;
  } catch (error) {
    if (error instanceof CfsError) return undefined;
    throw error;
  }
}
