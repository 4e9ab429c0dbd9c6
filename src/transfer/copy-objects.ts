/** Copies objects from repositories into another one, by threads: only those that it does not have, verified. */
import { randomBytes } from 'node:crypto';
import type { LocalRepository } from '../store/local-repository.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import {
  type CopiedObjects,
  dataOf,
  type RepositoryData,
  runCopyThreads,
  shared,
  type ThreadOptions,
  type ThreadSettings,
} from './copy-threads.ts';

/** The startup data of a thread. */
export interface CopySettings extends ThreadSettings {
  readonly target: RepositoryData;
  /** Searched in this order. */
  readonly sources: readonly RepositoryData[];
  /** 32 bytes each. */
  readonly digests: Uint8Array;
  readonly sizes: Float64Array;
  readonly durable: boolean;
  /** Of temporary names; unique to the thread. */
  readonly prefix: string;
}

/** Objects that a thread takes at a time. */
export const TAKEN: number = 32;

export interface CopyOptions extends ThreadOptions {
  readonly threads: number;
  readonly durable: boolean;
}

/** Objects by digest: 32 bytes each, and their sizes. */
export interface ObjectList {
  readonly digests: Uint8Array;
  readonly sizes: Float64Array;
}

/**
 * Copies objects. Hold the lock of a writer of the target. If the work is stopped, what was copied stays.
 * @throws CfsError (store) if the target cannot be written; the reason of the signal
 */
export async function copyObjects(
  sources: readonly LocalRepository[],
  target: LocalRepository,
  { digests, sizes }: ObjectList,
  { threads, durable, ...options }: CopyOptions,
): Promise<CopiedObjects> {
  const run = randomBytes(8).toString('hex');
  const common = {
    target: dataOf(target),
    sources: sources.map(dataOf),
    digests: shared(digests),
    sizes: shared(sizes),
    durable,
  };
  const wanted = Math.max(1, Math.min(threads, Math.ceil(sizes.length / TAKEN)));
  const settingsOf = (thread: number): Omit<CopySettings, keyof ThreadSettings> => ({
    ...common,
    prefix: `${run}-${thread}-`,
  });
  const result = await runCopyThreads('cfs-copy-worker.js', wanted, settingsOf, options);
  if (durable && result.copied > 0) syncNames(target, run);
  return result;
}

/** The batches of the threads were synced before their renames; this syncs the names themselves. */
export function syncNames(repository: LocalRepository, prefix: string): void {
  const writer = new ObjectWriter(repository, { durable: true, prefix });
  try {
    writer.sync();
  } finally {
    writer.close();
  }
}
