/** Reads one image in a separate thread, for `tablesOfBoth`. */
import { parentPort, workerData } from 'node:worker_threads';
import { CfsError, type ErrorKind } from '../../src/base/error.ts';
import { readImage } from '../../src/image/image-file.ts';
import { type SharedTables, shareTables } from '../../src/manifest/tables.ts';
import type { NamedImage } from './mounted-image.ts';

export type TablesMessage =
  | { readonly tables: SharedTables }
  // an error's class does not cross threads
  | { readonly error: { readonly kind: ErrorKind; readonly message: string; readonly hint: string | undefined } };

function read({ path, id }: NamedImage): TablesMessage {
  try {
    return { tables: shareTables(readImage(path, id).tables) };
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    const { kind, message, hint } = error;
    return { error: { kind, message, hint } };
  }
}

parentPort?.postMessage(read(workerData as NamedImage));
