/** Fetches objects of an image from a remote repository into a local one, by threads. */
import { randomBytes } from 'node:crypto';
import { objectSizes } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { type FetchTask, planFetch } from '../remote/fetch-plan.ts';
import type { HttpOptions } from '../remote/http-client.ts';
import type { ObjectMap } from '../remote/map-format.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import type { CopyOptions } from './copy-objects.ts';
import { syncNames } from './copy-objects.ts';
import {
  type CopiedObjects,
  dataOf,
  type RepositoryData,
  runCopyThreads,
  shared,
  type ThreadSettings,
} from './copy-threads.ts';

/** The startup data of a thread. */
export interface PullSettings extends ThreadSettings {
  readonly target: RepositoryData;
  /** URLs. */
  readonly mirrors: readonly string[];
  readonly http: HttpOptions;
  /** Of the image: 32 bytes each. */
  readonly digests: Uint8Array;
  readonly sizes: Float64Array;
  readonly map: ObjectMap | undefined;
  readonly tasks: readonly FetchTask[];
  /** Requests of this thread at the same time. */
  readonly requests: number;
  readonly durable: boolean;
  /** Of temporary names; unique to the thread. */
  readonly prefix: string;
}

export interface PullOptions extends CopyOptions {
  /** Requests at the same time, of all threads. */
  readonly connections: number;
  readonly cacert?: string | undefined;
}

/** More threads than this wait for each other. */
const ENOUGH_TASKS = 4;

/**
 * Fetches the objects `rows` of an image, none of which the target has. Hold the lock of a writer of the target. If the
 * work is stopped, what was stored stays.
 * @param map undefined if the remote repository has no packs
 * @throws CfsError (store) if the target cannot be written; the reason of the signal
 */
export async function pullObjects(
  mirrors: readonly URL[],
  target: LocalRepository,
  tables: ManifestTables,
  map: ObjectMap | undefined,
  rows: readonly number[],
  { threads, connections, cacert, durable, ...options }: PullOptions,
): Promise<CopiedObjects> {
  const sizes = objectSizes(tables);
  const tasks = planFetch(map, sizes, rows);
  if (tasks.length === 0) return { existing: 0, copied: 0, copiedBytes: 0, failures: [] };
  const wanted = Math.max(1, Math.min(threads, connections, Math.ceil(tasks.length / ENOUGH_TASKS)));
  const requests = Math.max(1, Math.floor(connections / wanted));
  const run = randomBytes(8).toString('hex');
  const common = {
    target: dataOf(target),
    mirrors: mirrors.map(String),
    http: { connections: requests, cacert },
    digests: shared(tables.objects.digest),
    sizes: shared(sizes),
    map: map === undefined ? undefined : inShared(map),
    tasks,
    requests,
    durable,
  };
  const settingsOf = (thread: number): Omit<PullSettings, keyof ThreadSettings> => ({
    ...common,
    prefix: `${run}-${thread}-`,
  });
  const result = await runCopyThreads('cfs-pull-worker.js', wanted, settingsOf, options);
  if (durable && result.copied > 0) syncNames(target, run);
  return result;
}

const inShared = ({ frames, frameOf, offsetOf, ...map }: ObjectMap): ObjectMap => ({
  ...map,
  frames: {
    pack: shared(frames.pack),
    offset: shared(frames.offset),
    stored: shared(frames.stored),
    raw: shared(frames.raw),
  },
  frameOf: shared(frameOf),
  offsetOf: shared(offsetOf),
});
