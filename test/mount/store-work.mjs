// A program that does one piece of a store's work, for store-faults.test.ts, which has it fail or be killed at each of its
// file system calls. Prints "begin", and its result or the error as one JSON object.
//
// usage: store-work.mjs pack STORE IMAGE SOURCE | gc STORE | repair STORE GOOD | seal STORE IMAGE | unregister STORE ID
import { appendFileSync, existsSync, fstatSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fromHex, toHex } from '../../dist/src/base/bytes.js';
import { createDigest } from '../../dist/src/base/digest.js';
import { EACCES, EEXIST, ENODATA } from '../../dist/src/base/errno.js';
import { buildImage } from '../../dist/src/build/build.js';
import { openDirectorySource } from '../../dist/src/build/directory.js';
import { sealImageFile } from '../../dist/src/image/seal-image.js';
import { returning } from '../../dist/src/store/fail-points.js';
import { checkRepository } from '../../dist/src/store/fsck.js';
import { collectGarbage } from '../../dist/src/store/gc.js';
import { openRepository } from '../../dist/src/store/local.js';
import { lockForWriting } from '../../dist/src/store/lock.js';
import { unregisterImage } from '../../dist/src/store/roots.js';
import { sealObjects } from '../../dist/src/store/seal.js';

/**
 * Stands in for the kernel's fs-verity, which few machines of tests have: what is sealed is in the file STORE.seals, a line for
 * each inode, and so there at once or not at all, as the kernel has it. Who seals needs the right to write, as if not root: so the
 * store changes modes, too. The fail point is the one of the real call.
 */
function standInForVerity(store) {
  const file = `${store}.seals`;
  const seals = () => new Map(existsSync(file) ? readLines(file).map((line) => line.split(' ')) : []);
  return {
    measure: (fd) => {
      const digest = seals().get(String(fstatSync(fd).ino));
      return digest === undefined ? ENODATA : { algorithm: 'sha256', digest: fromHex(digest) };
    },
    enable: returning('FS_IOC_ENABLE_VERITY', (fd) => {
      const { ino, mode } = fstatSync(fd);
      if ((mode & 0o200) === 0) return EACCES;
      if (seals().has(String(ino))) return EEXIST;
      const hasher = createDigest('fsverity-sha256');
      hasher.update(readFileSync(`/proc/self/fd/${fd}`));
      appendFileSync(file, `${ino} ${toHex(hasher.digest())}\n`);
      return 0;
    }),
  };
}

const readLines = (file) => readFileSync(file, 'utf8').trimEnd().split('\n');

const works = {
  pack: (repository, [image, source]) =>
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
  seal: async (repository, [image]) => {
    const verity = standInForVerity(repository.path);
    const objects = await sealObjects(repository, undefined, { verity });
    return { ...objects, image: sealImageFile(image, verity) };
  },
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
export const doWork = async (what, store, args) => works[what](openRepository(store), args);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [what, store, ...args] = process.argv.slice(2);
  process.stdout.write('begin\n');
  try {
    process.stdout.write(JSON.stringify(await doWork(what, store, args)));
  } catch (error) {
    process.stdout.write(JSON.stringify({ kind: error.kind ?? 'bug', message: error.message, stack: error.stack }));
    process.exitCode = 1;
  }
}
