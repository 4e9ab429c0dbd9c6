// A program that does one piece of a store's work, for store-faults.test.ts, which makes it fail or kills it at each of
// its file system calls. It prints "begin", and its result or the error as one JSON object.
//
// usage: store-work.mjs pack STORE IMAGE SOURCE | gc STORE | repair STORE GOOD | seal STORE IMAGE | unregister STORE ID
import { appendFileSync, existsSync, fstatSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openRepository } from '../../dist/src/store/open-repository.js';

/** Each work loads what it needs: a hundred processes are started. */
const dist = (name) => import(new URL(`../../dist/src/${name}.js`, import.meta.url).href);

/**
 * A stand-in for the kernel's fs-verity, which few test machines have: the file STORE.seals has a line for each sealed
 * inode, so that a seal is set at once or not at all, as by the kernel. Sealing requires the right to write, as for a
 * user other than root: so the store also changes modes. The fail point is that of the real call.
 */
async function standInForVerity(store) {
  const { fromHex, toHex } = await dist('base/bytes');
  const { createDigest } = await dist('base/digest');
  const { EACCES, EEXIST, ENODATA } = await dist('base/errno');
  const { returning } = await dist('system/fail-points');
  const file = `${store}.seals`;
  const seals = () =>
    new Map(existsSync(file) ? readLines(file).map((line) => /** @type {[string, string]} */ (line.split(' '))) : []);
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
  pack: async (repository, [image, source]) => {
    const { packImage } = await dist('pack/pack-image');
    const { openDirectorySource } = await dist('pack/sources/directory');
    const tree = openDirectorySource(source, { useEpoch: true, skipXattrs: false, skipDevices: false, warn: () => {} });
    const common = { inlineMax: 0, threads: 1, durable: true, repositories: [], rehash: true, register: true };
    return packImage(tree, { repository, image, ...common });
  },
  gc: async (repository) => {
    const { collectGarbage } = await dist('store/gc/gc');
    const options = { keep: [], minAgeMs: 0, dryRun: false, keepNone: false, emptyQuarantine: true };
    return collectGarbage(repository, options);
  },
  repair: async (repository, [good]) => {
    const { checkRepository } = await dist('store/check/fsck');
    return checkRepository(repository, { sources: [openRepository(good)], threads: 1, dryRun: false });
  },
  seal: async (repository, [image]) => {
    const { sealObjects } = await dist('store/seal');
    const { sealImageFile } = await dist('image/seal-image');
    const verity = await standInForVerity(repository.path);
    const objects = await sealObjects(repository, undefined, { verity });
    return { ...objects, image: sealImageFile(image, verity) };
  },
  unregister: async (repository, [id]) => {
    const { lockForWriting } = await dist('store/lock');
    const { unregisterImage } = await dist('store/gc/register');
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
  process.stdout.write('begin\n');
  try {
    process.stdout.write(JSON.stringify(await doWork(what, store, args)));
  } catch (error) {
    process.stdout.write(JSON.stringify({ kind: error.kind ?? 'bug', message: error.message, stack: error.stack }));
    process.exitCode = 1;
  }
}
