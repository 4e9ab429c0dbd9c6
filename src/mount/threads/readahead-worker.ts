/**
 * A worker thread that fetches files before they are requested. Started by workers.ts once a few files have been
 * opened.
 */
import '../../system/exact-paths.ts';
import { parentPort } from 'node:worker_threads';
import { useNativeModules } from '../../base/native-package.ts';
import { ReadingEvents } from '../../fs/reading-events.ts';
import { ReadingOrder } from '../../fs/reading-order.ts';
import { objectName } from '../../manifest/lookup.ts';
import { attachTables } from '../../manifest/tables.ts';
import { contentsOf } from '../contents.ts';
import { repositoriesOf } from '../served-image.ts';
import type { MountMessage } from './mount-message.ts';

/**
 * Larger objects are left to the reader: the kernel reads them ahead by itself, and a reader of small files only would
 * wait for unwanted data.
 */
const LARGEST = 262_144;

parentPort?.once('message', (message: MountMessage) => {
  useNativeModules(message.natives);
  fetchAhead(message);
  parentPort?.close();
});

function fetchAhead(message: MountMessage): void {
  const tables = attachTables(message.tables);
  // problems of an object are reported when a reader requests it
  const silent = (): void => undefined;
  const contents = contentsOf(tables, repositoriesOf(message, tables), message.verify, message.objectState, silent);
  const order = new ReadingOrder(tables, (index) => {
    const object = objectName(tables, index);
    if (object.size <= LARGEST) contents.prefetch(object);
  });
  new ReadingEvents(message.events).follow((event, value) => order[event](value));
}
