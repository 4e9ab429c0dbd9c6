// A program that does one piece of a store's work, for store-faults.test.ts, which has it fail or be killed at each of its
// file system calls. Prints its result, or the error, as one JSON object.
//
// usage: store-work.mjs pack STORE SOURCE IMAGE | gc STORE | repair STORE GOOD | unregister STORE ID
import { fileURLToPath } from 'node:url';
import { buildImage } from '../../dist/src/build/build.js';
import { openDirectorySource } from '../../dist/src/build/directory.js';
import { checkRepository } from '../../dist/src/store/fsck.js';
import { collectGarbage } from '../../dist/src/store/gc.js';
import { openRepository } from '../../dist/src/store/local.js';
import { lockForWriting } from '../../dist/src/store/lock.js';
import { unregisterImage } from '../../dist/src/store/roots.js';

const works = {
  pack: (repository, [source, image]) =>
    buildImage(openDirectorySource(source, { useEpoch: true, skipXattrs: false, skipDevices: false, warn: () => {} }), {
      repository,
      image,
      inlineMax: 0,
      threads: 1,
      durable: true,
      repositories: [],
      rehash: true,
      register: true,
    }),
  gc: (repository) =>
    collectGarbage(repository, { keep: [], minAgeMs: 0, dryRun: false, keepNone: false, emptyQuarantine: true }),
  repair: (repository, [good]) =>
    checkRepository(repository, { sources: [openRepository(good)], threads: 1, dryRun: false }),
  unregister: async (repository, [id]) => {
    const lock = await lockForWriting(repository);
    try {
      return { unregistered: unregisterImage(repository, id) };
    } finally {
      lock.release();
    }
  },
};

/** Does the work in this process. */
export const doWork = (what, store, args) => works[what](openRepository(store), args);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [what, store, ...args] = process.argv.slice(2);
  try {
    process.stdout.write(JSON.stringify(await doWork(what, store, args)));
  } catch (error) {
    process.stdout.write(JSON.stringify({ kind: error.kind ?? 'bug', message: error.message, stack: error.stack }));
    process.exitCode = 1;
  }
}
