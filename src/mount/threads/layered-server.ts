/** One thread's server of a writable mount: the image, and the upper layer above it. */
import { isErrno } from '../../base/errno.ts';
import { type BackedInode, BackingJournal } from '../../fuse/backing-journal.ts';
import { isKnownInode } from '../../fuse/device.ts';
import { writableDispatcher } from '../../fuse/dispatch-writable.ts';
import type { IntentLog } from '../../fuse/writable-context.ts';
import { WritableOpenFiles } from '../../fuse/writable-open-files.ts';
import { LayeredFilesystem } from '../../layered/layered-filesystem.ts';
import { decodeIdentities, Identities } from '../../manifest/identities.ts';
import { mapFile } from '../../system/mapped-file.ts';
import { asWriterOf } from '../../system/thread-capabilities.ts';
import type { IdentityTable } from '../../upper/identity-table.ts';
import { INTENTS_BYTES, Intents } from '../../upper/intents.ts';
import { attachTable } from '../../upper/table-file.ts';
import type { SalvagedRow } from '../../upper/table-salvage.ts';
import { changeIoctls } from '../change-answers.ts';
import { originalsOf } from '../served-filesystem.ts';
import { CallerProcessor } from './caller-processor.ts';
import type { LayerMessage } from './mount-message.ts';
import type { MakeServer } from './serving-thread.ts';

/** Nothing is warmed up: the requests of warm-up.ts are those of a read-only mount. */
export const layeredServer: MakeServer = (message, parts) => {
  const { layer } = message;
  if (layer === undefined) throw new Error('a mount without an upper layer');
  const { image, tables, fd, registry, thread, log, waiting, counters } = parts;
  const table = tableOf(layer);
  const logLine = (line: string): void => log(line);
  const fs = new LayeredFilesystem(
    {
      image,
      tables,
      identities: layer.identities && new Identities(decodeIdentities(layer.identities)),
      directories: layer.directories,
      settings: layer.settings,
      table,
      collects: message.collects,
      state: layer.state,
      originals: originalsOf(message, tables, log, counters),
      log: logLine,
      isKnown: (ino) => isKnownInode(fd, ino),
    },
    changeIoctls(),
  );
  const journal = message.journal < 0 ? undefined : new BackingJournal(message.journal);
  if (journal !== undefined) fs.openTable.record = (row, ino, backing) => journal.write(row, ino, backing);
  const openFiles = new WritableOpenFiles(fs.openTable, layer.openFiles, registry, asWriterOf);
  fs.listen(openFiles);
  if (thread === 0) beginServer(layer, fs, openFiles, table, journal);
  const server = writableDispatcher(fs, openFiles, intentsOf(layer, thread), logLine, waiting, counters);
  const callers = new CallerProcessor();
  return {
    server,
    trace: { pathOf: (ino) => fs.pathOf(ino), writable: true },
    answered: (caller) => callers.answered(caller),
  };
};

/** Whatever the kernel has of the last server is taken over; a new mount begins with nothing open. */
function beginServer(
  { takesOver, salvaged }: LayerMessage,
  fs: LayeredFilesystem,
  openFiles: WritableOpenFiles,
  table: IdentityTable,
  journal: BackingJournal | undefined,
): void {
  if (takesOver) {
    if (salvaged !== undefined) fs.rebuild(withBacking(salvaged, journal?.take() ?? []));
    openFiles.restore(table.rows());
    fs.resume();
  } else {
    openFiles.begin(table.rows());
    fs.begin();
  }
}

/** The journal has what the damaged table may lack. A file of which the count is lost counts as open once. */
function withBacking(salvaged: readonly SalvagedRow[], backed: readonly BackedInode[]): SalvagedRow[] {
  const rows = new Map(salvaged.map((row) => [row.id, row]));
  for (const { id, backing } of backed) {
    const row = rows.get(id) ?? { id, generation: 0, isOrphan: false, opens: 1 };
    rows.set(id, { ...row, backing });
  }
  return [...rows.values()];
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
