/** Fetches an image and its objects from a remote repository. */
import { objectCount, u64 } from '../manifest/tables.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import type { CopiedObjects } from './copy-threads.ts';
import { keepImage, missingIn } from './loaded-images.ts';
import { type PullOptions, pullObjects } from './pull-objects.ts';
import type { RemoteImage, RemoteRepository } from './remote-repository.ts';

export interface PullImageOptions extends PullOptions {
  /** Receives a line for people if another program keeps the repository locked for long. */
  readonly onWait?: ((line: string) => void) | undefined;
  /** Called before the first object is fetched. */
  readonly onPlan?: ((plan: { readonly bytes: number }) => void) | undefined;
}

/**
 * Stores the objects of an image that the target does not have, registers the image there, and writes it to `path`. May
 * be stopped or killed at any time, and repeated: it continues then.
 * @returns with failures: the image is neither registered nor written
 * @throws CfsError: `store`; `system` if the image cannot be written; the reason of the signal
 */
export async function pullImage(
  remote: RemoteRepository,
  { id, bytes, tables }: RemoteImage,
  target: LocalRepository,
  path: string,
  { onPlan, ...options }: PullImageOptions,
): Promise<CopiedObjects> {
  const lock = await lockForWriting(target, options.signal, options.onWait);
  try {
    const [rows] = missingIn(target, [tables]) as [number[]];
    onPlan?.({ bytes: rows.reduce((sum, row) => sum + u64(tables.objects.size, row), 0) });
    const map = rows.length === 0 ? undefined : await remote.map(id, tables, options.signal);
    const pulled = await pullObjects(remote.address.mirrors, target, tables, map, rows, options);
    if (pulled.failures.length === 0) await keepImage(target, { path, id, tables }, bytes, true, options.durable);
    return { ...pulled, existing: objectCount(tables) - rows.length };
  } finally {
    lock.release();
  }
}
