/** A worker thread that fetches files before they are asked for. Started by workers.ts where readers read in order. */
import { closeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { isErrno } from '../../base/errno.ts';
import { useNativeModules } from '../../base/native-package.ts';
import { ReadingEvents } from '../../fs/reading-events.ts';
import { ReadingOrder } from '../../fs/reading-order.ts';
import { objectName } from '../../manifest/lookup.ts';
import { attachTables, type ManifestTables } from '../../manifest/tables.ts';
import type { ObjectName } from '../../objects/repository.ts';
import { BY_BLOCKS, ObjectStore } from '../../objects/whole-objects.ts';
import { readahead } from '../../system/syscall.ts';
import { wholeMode } from '../contents.ts';
import { repositoriesOf } from '../served-image.ts';
import type { MountMessage } from './worker.ts';

/** Larger objects are left to whoever reads them: the kernel reads them ahead by itself, and who reads only small files would wait for what nobody asked for. */
const LARGEST = 262_144;

parentPort?.once('message', (message: MountMessage) => {
  useNativeModules(message.natives);
  fetchAhead(message);
  parentPort?.close();
});

function fetchAhead(message: MountMessage): void {
  const tables = attachTables(message.tables);
  const fetch = fetcher(message, tables);
  const order = new ReadingOrder(tables, (index) => {
    const object = objectName(tables, index);
    if (object.size <= LARGEST) fetch(object);
  });
  new ReadingEvents(message.events).follow((event, value) => order[event](value));
}

/** What makes an object quick to open and read: to verify it, where it is verified as a whole, and else to have its pages in memory. */
function fetcher(message: MountMessage, tables: ManifestTables): (object: ObjectName) => void {
  const repositories = repositoriesOf(message, tables);
  const { verify } = message;
  if (verify !== 'read' && verify !== 'off') {
    const mode = wholeMode(verify, tables.header.hash);
    // what is wrong with an object is told when somebody asks for it
    const store = new ObjectStore(repositories, mode, message.objectState, () => undefined, {
      adopt: ({ size }, fd) => {
        readahead(fd, 0, size);
        closeSync(fd);
      },
    });
    return (object) => {
      if (store.current(object) >= 0) return;
      const fd = store.open(object, () => '');
      if (fd === BY_BLOCKS || isErrno(fd)) return;
      // what was hashed is in memory, what was measured need not be
      if (mode !== 'open') readahead(fd, 0, object.size);
      closeSync(fd);
    };
  }
  return (object) => {
    for (const repository of repositories) {
      const fd = repository.open(object.digest);
      if (isErrno(fd)) continue;
      readahead(fd, 0, object.size);
      closeSync(fd);
      return;
    }
  };
}
