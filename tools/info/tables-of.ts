/** The tables of an argument on the command line: an image file, or a directory on which one is mounted. */

import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { ENOTCONN, errnoOf } from '../../src/base/errno.ts';
import { CfsError } from '../../src/base/error.ts';
import { programPath } from '../../src/base/installation.ts';
import { attachTables, type ManifestTables } from '../../src/manifest/tables.ts';
import { tablesAt } from '../../src/pack/sources/open-source.ts';
import { imageOfMount, type NamedImage } from './mounted-image.ts';
import { readImage } from './read-image.ts';
import type { TablesMessage } from './tables-worker.ts';

/** @throws CfsError, as `readImage` and `imageOfMount` */
export function tablesOf(argument: string): ManifestTables {
  return read(imageOf(argument));
}

/**
 * The size of an image from which on a separate thread saves time: it takes some 60 ms to start, as long as reading
 * these bytes.
 */
const LARGE = 1 << 24;

/** As `tablesOf`, for two; large images at the same time. */
export async function tablesOfBoth(first: string, second: string): Promise<[ManifestTables, ManifestTables]> {
  const [before, after] = [orError(() => changedTables(first)), orError(() => changedTables(second))];
  if (before !== undefined || after !== undefined) {
    return both(before ?? orError(() => tablesOf(first)), after ?? orError(() => tablesOf(second)));
  }
  const images = [orError(() => imageOf(first)), orError(() => imageOf(second))] as const;
  const [one, two] = images;
  if (one instanceof CfsError || two instanceof CfsError) return both(one, two) as never;
  if (sizeOf(two.path) < LARGE)
    return both(
      orError(() => read(one)),
      orError(() => read(two)),
    );
  const other = readInThread(two).catch(onlyCfsError);
  const own = orError(() => read(one));
  return both(own, await other);
}

/** Those of a writable mount, with its changes; undefined for other arguments. */
const changedTables = (argument: string): ManifestTables | undefined =>
  isDirectory(argument) ? tablesAt(argument) : undefined;

function orError<T>(work: () => T): T | CfsError {
  try {
    return work();
  } catch (error) {
    return onlyCfsError(error);
  }
}

function onlyCfsError(error: unknown): CfsError {
  if (error instanceof CfsError) return error;
  throw error;
}

/** @throws CfsError that describes the problem of each of them */
function both<T>(one: T | CfsError, two: T | CfsError): [T, T] {
  if (one instanceof CfsError && two instanceof CfsError && one.message !== two.message) {
    const hints = new Set([one.hint, two.hint].flatMap((hint) => hint ?? []));
    const hint = hints.size > 0 ? [...hints].join(' ') : undefined;
    throw new CfsError(one.kind, `${one.message}; and ${two.message}`, { hint, cause: one });
  }
  if (one instanceof CfsError) throw one;
  if (two instanceof CfsError) throw two;
  return [one, two];
}

function imageOf(argument: string): NamedImage {
  return isDirectory(argument) ? imageOfMount(argument) : { path: argument, id: undefined };
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    // left by a dead daemon; otherwise reading it as an image reports the problem
    return errnoOf(error) === ENOTCONN;
  }
}

/** 0 if there is no file: reading it reports the reason. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

const read = ({ path, id }: NamedImage): ManifestTables => readImage(path, id).tables;

async function readInThread(image: NamedImage): Promise<ManifestTables> {
  let worker: Worker;
  try {
    worker = new Worker(programPath('cfs-read-tables.js'), { workerData: image });
  } catch {
    return read(image); // the machine has no room for a thread: read one after the other
  }
  const message = await new Promise<TablesMessage>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  if ('error' in message) throw new CfsError(message.error.kind, message.error.message, { hint: message.error.hint });
  return attachTables(message.tables);
}
