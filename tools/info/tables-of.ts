/** The tables that an argument of the command line stands for. */
import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { CfsError, type ErrorKind } from '../../src/error.ts';
import { readImage } from '../../src/image-file.ts';
import { attachTables, type ManifestTables, type SharedTables } from '../../src/manifest/tables.ts';
import { imageOfMount } from './mounted.ts';

/**
 * The tables of an image file, or of the image that is mounted on a directory.
 * @throws CfsError, as `readImage` and `imageOfMount`
 */
export function tablesOf(argument: string): ManifestTables {
  const { path, id } = imageOf(argument);
  return readImage(path, id).tables;
}

/** `id`: what the image must be, where it is what a mount was made of. */
const imageOf = (argument: string): { readonly path: string; readonly id?: string } =>
  statOf(argument)?.isDirectory() ? imageOfMount(argument) : { path: argument };

/** Undefined where it cannot be had: reading the image says why. */
function statOf(path: string): ReturnType<typeof statSync> | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** Bytes of an image from which on a thread of its own saves time: it takes some 60 ms to start, as long as reading these. */
const LARGE = 1 << 24;

/** What the thread of tables-worker.ts sends. */
export type TablesMessage =
  | { readonly tables: SharedTables }
  | { readonly error: { readonly kind: ErrorKind; readonly message: string } };

/** As `tablesOf`, for two; large images at the same time. */
export async function tablesOfBoth(first: string, second: string): Promise<[ManifestTables, ManifestTables]> {
  const size = Number(statOf(imageOf(second).path)?.size ?? 0);
  if (size < LARGE) return [tablesOf(first), tablesOf(second)];
  const other = tablesInThread(second);
  try {
    return [tablesOf(first), await other];
  } catch (error) {
    await other.catch(() => {}); // the thread ends by itself
    throw error;
  }
}

async function tablesInThread(argument: string): Promise<ManifestTables> {
  const worker = new Worker(new URL('./tables-worker.js', import.meta.url), { workerData: argument });
  const message = await new Promise<TablesMessage>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  if ('error' in message) throw new CfsError(message.error.kind, message.error.message);
  return attachTables(message.tables);
}
