/** Reads the tables of one argument in a thread of its own: `tablesOfBoth`. */
import { parentPort, workerData } from 'node:worker_threads';
import { CfsError } from '../../src/error.ts';
import { shareTables } from '../../src/manifest/tables.ts';
import { type TablesMessage, tablesOf } from './tables-of.ts';

function read(argument: string): TablesMessage {
  try {
    return { tables: shareTables(tablesOf(argument)) };
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    // an error's class does not cross threads
    return { error: { kind: error.kind, message: error.message } };
  }
}

parentPort?.postMessage(read(workerData as string));
