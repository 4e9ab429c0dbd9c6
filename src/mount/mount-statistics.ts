/** Statistics of a mount: JSON in a private xattr of its root, docs/handles.md. */

import { opcodeName } from '../fuse/opcodes.ts';
import { type ManifestTables, u64 } from '../manifest/tables.ts';
import type { VerifyMode } from '../objects/repository.ts';
import { verifiedTotals } from '../objects/verified-files.ts';
import { watchActivity } from './activity.ts';
import { type CounterMemory, type CounterTotals, OTHER, servedTo, totalsOf } from './counters.ts';
import { type FetchStatistics, fetchStatistics } from './fetch-counters.ts';
import { type MountSource, verifyModeOf } from './mount-sources.ts';
import { ProblemMemory } from './problem-memory.ts';
import type { ServedImage } from './served-image.ts';
import { FETCH_COUNTERS } from './threads/most-threads.ts';

export interface MountStatistics {
  /** The number of earlier servers of the mount; the other numbers are of the current one. */
  readonly restarts: number;
  /** By name, as "LOOKUP"; those with an opcode of which there is no count are "other". */
  readonly requests: Readonly<Record<string, number>>;
  /**
   * Failed requests, by the name of the error: not those for names that do not exist or operations that are not
   * implemented.
   */
  readonly errors: Readonly<Record<string, number>>;
  /** Returned to the kernel by READ; bytes that it reads itself (passthrough) are not counted. */
  readonly bytesRead: number;
  /** Requests that took longer than a second. */
  readonly slow: number;
  /** Problems that were logged; `cfs-info log` shows the last. */
  readonly problems: number;
  /** In search order. */
  readonly repositories: readonly RepositoryStatistics[];
  /** What came from remote repositories; undefined if the mount has none. */
  readonly fetched?: FetchStatistics;
}

export interface RepositoryStatistics {
  readonly path: string;
  readonly uuid: string;
  /**
   * How its objects are verified: as requested, or `read` if its file system is not under the control of this kernel
   * alone.
   */
  readonly verify: VerifyMode;
  /** Objects that were opened from it, or pieces read. */
  readonly served: number;
  readonly missing: number;
  /** The copy was not the object. */
  readonly damaged: number;
  /** It could not be opened or read. */
  readonly failed: number;
}

export function statisticsOf({ counters, sources, restarts, verify, problems, remote }: ServedImage): MountStatistics {
  const totals: CounterTotals = totalsOf(counters);
  return {
    restarts,
    requests: {
      ...Object.fromEntries([...totals.requests].map(([opcode, n]) => [opcodeName(opcode), n])),
      ...(totals.otherRequests > 0 && { [OTHER]: totals.otherRequests }),
    },
    errors: totals.errors,
    bytesRead: totals.bytesRead,
    slow: totals.slow,
    problems: new ProblemMemory(problems).total,
    repositories: totals.repositories.map((outcomes, i) => {
      const source = sources[1 + i] as MountSource;
      return { path: source.path, uuid: source.id, verify: verifyModeOf(source, verify), ...outcomes };
    }),
    ...(remote === undefined ? {} : { fetched: fetchStatistics(remote, hitsOf(totals, counters)) }),
  };
}

/** Of the cache, which is the last repository. The fetching thread serves those that have waited. */
function hitsOf({ repositories }: CounterTotals, counters: CounterMemory): number {
  const cache = repositories.length - 1;
  const { served } = repositories[cache] as CounterTotals['repositories'][number];
  return Math.max(0, served - servedTo(counters, FETCH_COUNTERS, cache));
}

/** The statistics of a mount that is watched: JSON in another private xattr. */
export interface MountActivity extends MountStatistics {
  /** Changes when `latency` and `opened` begin anew: with the next server, and when nothing was asked for a minute. */
  readonly watch: number;
  /**
   * The number of requests by the time until their answer, since watching began: below 1 µs, below 2 µs, 4 µs and so
   * on; the last number is of all others.
   */
  readonly latency: readonly number[];
  /** The files that were opened most since watching began. `path`: one of its names, for those that may know it. */
  readonly opened: readonly { readonly ino: number; readonly opens: number; readonly path: string | undefined }[];
  /** Objects whose content was verified as a whole, and their bytes. */
  readonly verified: { readonly objects: number; readonly bytes: number };
  /** The number of objects of the image. */
  readonly objects: number;
}

/**
 * Begins to watch, or goes on.
 * @param pathOf the path of an inode, if it has one and the reader may know it
 */
export function activityOf(
  served: ServedImage,
  tables: ManifestTables,
  pathOf: (ino: number) => string | undefined,
): MountActivity {
  const { watch, latency, opened } = watchActivity(served.activity);
  const { buffer, count } = served.objectState;
  return {
    ...statisticsOf(served),
    watch,
    latency,
    opened: opened.map(([ino, opens]) => ({ ino, opens, path: pathOf(ino) })),
    verified: verifiedTotals(buffer, count, (index) => u64(tables.objects.size, index)),
    objects: count,
  };
}
