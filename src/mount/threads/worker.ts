/** The program of a thread that serves a read-only mount. */
import '../../system/exact-paths.ts';
import { imageDispatcher } from '../../fuse/dispatch.ts';
import { OpenFileJournal } from '../../fuse/open-file-journal.ts';
import { OpenFiles } from '../../fuse/open-files.ts';
import { warmUp } from '../../fuse/warm-up.ts';
import { runServingThread } from './serving-thread.ts';

runServingThread(({ openFileState, journal: file, epoch, restores }, parts) => {
  const { image, registry, log, waiting, counters } = parts;
  const journal = file < 0 ? undefined : new OpenFileJournal(file);
  const openFiles = new OpenFiles(image, openFileState, registry, journal, epoch);
  if (restores && journal !== undefined) openFiles.restore(journal.entries());
  const server = imageDispatcher(image, openFiles, log, waiting, counters);
  return {
    server,
    trace: { pathOf: (ino) => image.pathOf(ino) },
    warmUp: (isAsked) => warmUp(image, server.reply, isAsked),
  };
});
