/** One thread's server of a mount that can be written: the image, and the upper layer above it. */
import { isErrno } from '../../base/errno.ts';
import type { Log } from '../../base/log.ts';
import type { ImageFilesystem } from '../../fs/image-filesystem.ts';
import { type DeviceBackingRegistry, isKnownInode } from '../../fuse/device.ts';
import { writableDispatcher } from '../../fuse/dispatch-writable.ts';
import type { RequestCounters, RequestServer, Waiting } from '../../fuse/dispatcher.ts';
import type { IntentLog } from '../../fuse/writable-context.ts';
import { WritableOpenFiles } from '../../fuse/writable-open-files.ts';
import type { LayerParts } from '../../layered/layer-parts.ts';
import { LayeredFilesystem } from '../../layered/layered-filesystem.ts';
import type { ManifestTables } from '../../manifest/tables.ts';
import { mapFile } from '../../system/mapped-file.ts';
import { withoutFsetid } from '../../system/thread-capabilities.ts';
import type { IdentityTable } from '../../upper/identity-table.ts';
import { INTENTS_BYTES, Intents } from '../../upper/intents.ts';
import { attachTable } from '../../upper/table-file.ts';
import type { LayerMessage } from './mount-message.ts';

/** The parts of a thread that any mount has. */
export interface ThreadParts {
  readonly image: ImageFilesystem;
  readonly tables: ManifestTables;
  /** The connection. */
  readonly fd: number;
  /** Undefined without passthrough. */
  readonly registry: DeviceBackingRegistry | undefined;
  /** Its number among the threads of the mount, from 0. */
  readonly thread: number;
  readonly log: Log;
  readonly waiting: Waiting;
  readonly counters: RequestCounters;
}

/** The server of one thread. */
export interface ThreadServer {
  readonly server: RequestServer;
  pathOf(ino: number): string | undefined;
}

/** Thread 0 makes its server before any other thread does, and before the first request. */
export function layeredServer(
  layer: LayerMessage,
  parts: ThreadParts & { readonly originals: LayerParts['originals'] },
): ThreadServer {
  const { originals, image, tables, fd, registry, thread, log, waiting, counters } = parts;
  const table = tableOf(layer);
  const logLine = (line: string): void => log(line);
  const fs = new LayeredFilesystem({
    image,
    tables,
    directories: layer.directories,
    features: layer.features,
    settings: layer.settings,
    table,
    state: layer.state,
    originals,
    log: logLine,
    isKnown: (ino) => isKnownInode(fd, ino),
  });
  const openFiles = new WritableOpenFiles(fs.openTable, layer.openFiles, registry, withoutFsetid);
  fs.listen(openFiles);
  if (thread === 0) beginServer(layer, fs, openFiles, table);
  const server = writableDispatcher(fs, openFiles, intentsOf(layer, thread), logLine, waiting, counters);
  return { server, pathOf: (ino) => fs.pathOf(ino) };
}

/** Whatever the kernel has of the last server is taken over; a new mount begins with nothing open. */
function beginServer(
  { takesOver }: LayerMessage,
  fs: LayeredFilesystem,
  openFiles: WritableOpenFiles,
  table: IdentityTable,
): void {
  if (takesOver) {
    openFiles.restore(table.rows());
    fs.resume();
  } else {
    openFiles.begin(table.rows());
    fs.begin();
  }
}

function tableOf(layer: LayerMessage): IdentityTable {
  const table = attachTable(layer.table);
  if (table === undefined || isErrno(table as number)) throw new Error('cannot map the table of identities');
  return table as IdentityTable;
}

function intentsOf(layer: LayerMessage, thread: number): IntentLog {
  const memory = mapFile(layer.intents, INTENTS_BYTES);
  if (isErrno(memory)) throw new Error('cannot map the intents');
  const intents = new Intents(memory, 0);
  return {
    begin: (uniqueLow, uniqueHigh, a, b) => intents.begin(thread, uniqueLow, uniqueHigh, a, b),
    find: (uniqueLow, uniqueHigh) => intents.find(uniqueLow, uniqueHigh),
  };
}
