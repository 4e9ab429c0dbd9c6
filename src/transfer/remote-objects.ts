/** Objects of images from remote repositories, where local ones lack them. */
import { CfsError } from '../base/error.ts';
import { objectHex } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { HttpOptions } from '../remote/http-client.ts';
import type { ObjectMap } from '../remote/map-format.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import type { CopyOptions } from './copy-objects.ts';
import type { CopiedObjects, CopyProgress } from './copy-threads.ts';
import type { LoadedImage } from './loaded-images.ts';
import { pullObjects } from './pull-objects.ts';
import type { RemoteRepository } from './remote-repository.ts';

/** A remote repository that objects are fetched from. */
export interface RemoteSource {
  readonly remote: RemoteRepository;
  readonly http: HttpOptions;
}

/** Objects of an image, by their rows. */
export interface WantedObjects {
  readonly image: Pick<LoadedImage, 'id' | 'tables'>;
  readonly rows: readonly number[];
}

/** The objects that a copy stored, and those that it could not. */
export type NewlyCopied = Omit<CopiedObjects, 'existing'>;

/**
 * Copies objects from several sources: from each those that the sources before it did not give.
 * @param copy copies from one source
 * @param onProgress gets the sum over the sources
 * @returns failures with the problems of all sources
 * @throws as `copy`
 */
export async function copyFromEach<S>(
  sources: readonly S[],
  wanted: readonly WantedObjects[],
  copy: (source: S, wanted: readonly WantedObjects[], onProgress: (done: CopyProgress) => void) => Promise<NewlyCopied>,
  onProgress: (done: CopyProgress) => void = () => undefined,
): Promise<NewlyCopied> {
  let left = wanted.filter(({ rows }) => rows.length > 0);
  const done = { copied: 0, copiedBytes: 0 };
  const problems = new Map<string, string[]>();
  for (const source of sources) {
    if (left.length === 0) break;
    const before = { ...done };
    const { copied, copiedBytes, failures } = await copy(source, left, ({ objects, bytes }) =>
      onProgress({ objects: before.copied + objects, bytes: before.copiedBytes + bytes }),
    );
    done.copied += copied;
    done.copiedBytes += copiedBytes;
    for (const { object, problem } of failures) problems.set(object, [...(problems.get(object) ?? []), problem]);
    left = onlyFailed(left, new Set(failures.map(({ object }) => object)));
  }
  const failed = new Set(left.flatMap(({ image, rows }) => rows.map((row) => objectHex(image.tables, row))));
  const failures = [...failed].map((object) => ({ object, problem: (problems.get(object) ?? []).join('; ') }));
  return { ...done, failures };
}

/** Of these objects, those that are in a set. */
const onlyFailed = (wanted: readonly WantedObjects[], failed: ReadonlySet<string>): WantedObjects[] =>
  wanted
    .map(({ image, rows }) => ({
      image,
      rows: failed.size === 0 ? [] : rows.filter((row) => failed.has(objectHex(image.tables, row))),
    }))
    .filter(({ rows }) => rows.length > 0);

/**
 * Fetches objects of images, none of which the target has. If the repository has no map of an image, each object is a
 * file there. An object of several images is asked for by one after the other. Hold the lock of a writer of the target.
 * @throws CfsError (store) if the target cannot be written; the reason of the signal
 */
export async function fetchObjects(
  { remote, http }: RemoteSource,
  target: LocalRepository,
  wanted: readonly WantedObjects[],
  options: CopyOptions,
): Promise<NewlyCopied> {
  const all = { copied: 0, copiedBytes: 0 };
  const got = new Set<string>();
  const problems = new Map<string, string>();
  const take = (tables: ManifestTables, rows: readonly number[], failed: ReadonlyMap<string, string>): void => {
    for (const row of rows) {
      const object = objectHex(tables, row);
      const problem = failed.get(object);
      if (problem === undefined) got.add(object);
      else problems.set(object, problems.get(object) ?? problem);
    }
  };
  for (const { image, rows: named } of wanted) {
    const rows = got.size === 0 ? named : named.filter((row) => !got.has(objectHex(image.tables, row)));
    if (rows.length === 0) continue;
    let map: ObjectMap | undefined;
    try {
      map = await remote.map(image.id, image.tables, options.signal);
    } catch (error) {
      if (!(error instanceof CfsError)) throw error;
      // another repository may have the objects
      take(image.tables, rows, new Map(rows.map((row) => [objectHex(image.tables, row), error.message])));
      continue;
    }
    const before = { objects: all.copied, bytes: all.copiedBytes };
    const pulled = await pullObjects(remote.address.mirrors, target, image.tables, map, rows, {
      ...options,
      connections: http.connections,
      cacert: http.cacert,
      onProgress: ({ objects, bytes }) =>
        options.onProgress?.({ objects: before.objects + objects, bytes: before.bytes + bytes }),
    });
    all.copied += pulled.copied;
    all.copiedBytes += pulled.copiedBytes;
    take(image.tables, rows, new Map(pulled.failures.map(({ object, problem }) => [object, problem])));
  }
  const failures = [...problems]
    .filter(([object]) => !got.has(object))
    .map(([object, problem]) => ({ object, problem }));
  return { ...all, failures };
}
