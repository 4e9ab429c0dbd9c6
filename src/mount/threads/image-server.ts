/** One thread's server of a read-only mount. */
import { imageDispatcher } from '../../fuse/dispatch.ts';
import type { RequestCounters, RequestServer } from '../../fuse/dispatcher.ts';
import { OpenFileJournal } from '../../fuse/open-file-journal.ts';
import { OpenFiles } from '../../fuse/open-files.ts';
import type { MountMessage } from './mount-message.ts';
import type { ThreadParts } from './serving-thread.ts';

export interface ImageServer {
  readonly server: RequestServer;
  readonly openFiles: OpenFiles;
}

/** @param restores whether the journal of an earlier server is read first */
export function imageServer(
  { openFileState, journal: file, epoch, remote }: MountMessage,
  {
    image,
    registry,
    log,
    waiting,
    counters,
  }: Pick<ThreadParts, 'image' | 'registry' | 'log' | 'waiting'> & { readonly counters: RequestCounters },
  restores: boolean,
): ImageServer {
  const journal = file < 0 ? undefined : new OpenFileJournal(file);
  const openFiles = new OpenFiles(image, openFileState, registry, journal, epoch, remote !== undefined);
  if (restores && journal !== undefined) openFiles.restore(journal.entries());
  return { server: imageDispatcher(image, openFiles, log, waiting, counters), openFiles };
}
