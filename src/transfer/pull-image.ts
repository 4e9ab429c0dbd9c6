/** Fetches an image and its objects from a remote repository. */
import { CfsError, reasonOf } from '../base/error.ts';
import { keptImageOf } from '../image/objects-needed.ts';
import { placeToRegister } from '../image/registered-image.ts';
import { objectName } from '../manifest/lookup.ts';
import { type ManifestTables, objectCount } from '../manifest/tables.ts';
import { registerImage } from '../store/gc/register.ts';
import type { LocalRepository } from '../store/local-repository.ts';
import { lockForWriting } from '../store/lock.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { replaceFile } from '../system/durable-file.ts';
import type { CopiedObjects } from './copy-threads.ts';
import { type PullOptions, pullObjects } from './pull-objects.ts';
import type { RemoteImage, RemoteRepository } from './remote-repository.ts';

export interface PullImageOptions extends PullOptions {
  /** Receives a line for people if another program keeps the repository locked for long. */
  readonly onWait?: ((line: string) => void) | undefined;
  /** Called before the first object is fetched. */
  readonly onPlan?: ((plan: { readonly objects: number; readonly bytes: number }) => void) | undefined;
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
    const missing = missingFrom(target, tables);
    onPlan?.({ objects: missing.rows.length, bytes: missing.bytes });
    const map = missing.rows.length === 0 ? undefined : await remote.map(id, tables, options.signal);
    const pulled = await pullObjects(remote.address.mirrors, target, tables, map, missing.rows, options);
    if (pulled.failures.length === 0) await keep(target, tables, id, bytes, path, options.durable);
    return { ...pulled, existing: objectCount(tables) - missing.rows.length };
  } finally {
    lock.release();
  }
}

/** The objects of an image that a repository does not have. */
function missingFrom(
  target: LocalRepository,
  tables: ManifestTables,
): { readonly rows: readonly number[]; readonly bytes: number } {
  const writer = new ObjectWriter(target, { durable: false, prefix: '' });
  try {
    const rows: number[] = [];
    let bytes = 0;
    for (let i = 0; i < objectCount(tables); i++) {
      const { digest, size } = objectName(tables, i);
      if (writer.holds(digest, size)) continue;
      rows.push(i);
      bytes += size;
    }
    return { rows, bytes };
  } finally {
    writer.close();
  }
}

async function keep(
  target: LocalRepository,
  tables: ManifestTables,
  id: string,
  bytes: Uint8Array,
  path: string,
  durable: boolean,
): Promise<void> {
  // before there is an image: no process may find one whose objects can be deleted
  const kept = keptImageOf(tables, { image: id, path: '', complete: true });
  await registerImage(target, { ...kept, ...placeToRegister(path) }, durable);
  try {
    replaceFile(path, bytes, durable);
  } catch (error) {
    throw new CfsError('system', `Cannot write image ${path}: ${reasonOf(error)}`, { cause: error });
  }
}
