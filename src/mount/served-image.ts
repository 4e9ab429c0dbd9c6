/** The data that the threads of a mount share. */
import type { View } from '../fs/image-filesystem.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import type { MountRecord } from '../mount-info/mount-record.ts';
import type { ObjectState } from '../objects/object-state.ts';
import type { VerifyMode } from '../objects/repository.ts';
import { LocalRepository } from '../store/local-repository.ts';
import type { CounterMemory } from './counters.ts';
import type { MountSource } from './mount-sources.ts';
import type { RemoteOptions } from './options.ts';

/** The remote repositories of a mount, for its threads. */
export interface ServedRemote {
  readonly options: RemoteOptions;
  /** The URLs of all servers, in the order in which they are asked. */
  readonly servers: readonly string[];
  /** The repository in the cache. */
  readonly cache: string;
  /** Of FetchCounters. */
  readonly counters: SharedArrayBuffer;
  /** Of ObjectOrigins. */
  readonly origins: SharedArrayBuffer;
}

/** The data for all threads of a mount; plain data except shared memory. */
export interface ServedImage {
  readonly record: MountRecord;
  /** The image, then the repositories in search order. */
  readonly sources: readonly MountSource[];
  /** The directories of the upper layer; none if the mount is read-only. They come after the other sources. */
  readonly layerSources: readonly MountSource[];
  readonly verify: VerifyMode;
  readonly view: View;
  readonly objectState: ObjectState;
  readonly counters: CounterMemory;
  /** ActivityCounts */
  readonly activity: SharedArrayBuffer;
  /** OpeningOrder; undefined if no profile is written. */
  readonly openings: SharedArrayBuffer | undefined;
  /** The number of earlier servers of the mount. */
  readonly restarts: number;
  /** Every request is logged. */
  readonly debug: boolean;
  /** ProblemMemory */
  readonly problems: SharedArrayBuffer;
  /** Undefined if all repositories are local. */
  readonly remote: ServedRemote | undefined;
  /** Whether users other than root and the mounting user may use the mount. */
  readonly isForOthers: boolean;
}

/** The repositories of a mount, without reading their meta.json, which was read when the mount was made. */
export function repositoriesOf({ sources }: ServedImage, tables: ManifestTables): LocalRepository[] {
  const { hash } = tables.header;
  return sources
    .slice(1)
    .map(
      ({ path, id, fd, isCache }) => new LocalRepository(path, { hash, uuid: id, ...(isCache && { cache: true }) }, fd),
    );
}
