// Bytes as a root and as a lease of a repository, unchanged and with the right checksum: gc refuses to delete anything,
// or keeps exactly the objects that they name.
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { equalBytes } from '../../dist/src/base/bytes.js';
import { blake3 } from '../../dist/src/base/digest.js';
import { Keepers } from '../../dist/src/store/gc/live-set.js';
import { listRoots } from '../../dist/src/store/gc/roots.js';
import { initRepository } from '../../dist/src/store/open-repository.js';
import { rowsOf } from '../../dist/tools/repo/images.js';

const IMAGE = 'ab'.repeat(32);
const HEADER = 128;
const CHECKSUM = 96;
const DIGEST = 32;

const directory = mkdtempSync(join(tmpdir(), 'cfs-fuzz.'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const repository = initRepository(join(directory, 'store'), 'blake3');
const root = join(repository.rootsDirectory, IMAGE);
const LEASES = join(repository.path, 'leases');
const lease = join(LEASES, `${IMAGE}.packed`);
for (const path of [repository.rootsDirectory, LEASES]) mkdirSync(path);
writeFileSync(root, '');
linkSync(root, lease);

function demand(condition, what) {
  if (!condition) throw new Error(what);
}

function checksumOf(bytes) {
  const header = Buffer.from(bytes.subarray(0, HEADER)).fill(0, CHECKSUM);
  return blake3(Buffer.concat([header, blake3(bytes.subarray(HEADER))]));
}

/** For both files, the objects that gc keeps with each first byte; undefined if it refuses. */
function keptBy() {
  const keepers = new Keepers(repository, [], 3_600_000, true);
  try {
    keepers.refresh();
    const { registered, packed } = keepers.counts;
    demand(registered === 1 && packed === 1, `${registered} roots and ${packed} leases count`);
    return Array.from({ length: 256 }, (_, prefix) => [...keepers.needed(prefix)]);
  } catch (error) {
    if (error?.constructor?.name !== 'CfsError' || error.kind !== 'store') throw error;
    demand(error.message.startsWith('Nothing more is deleted: '), error.message);
    demand(error.message.length < 1000, `a message has ${error.message.length} characters`);
    return undefined;
  } finally {
    keepers.close();
  }
}

function check(bytes) {
  writeFileSync(root, bytes);
  const kept = keptBy();
  const [listed] = listRoots(repository);
  demand(
    (listed.problem === undefined) === (kept !== undefined),
    `gc and the list of images do not agree: ${listed.problem}`,
  );
  for (const cell of rowsOf([listed]).flat())
    demand(!/\p{Cc}/u.test(cell), `it moves the cursor: ${JSON.stringify(cell)}`);
  if (kept === undefined) return;
  demand(equalBytes(checksumOf(bytes), bytes.subarray(CHECKSUM, HEADER)), 'a wrong checksum is accepted');
  const { objects, path } = listed.header;
  demand(Buffer.byteLength(path) <= 3 * 4096, `its path has ${path.length} characters`);
  const all = bytes.subarray(bytes.length - objects * DIGEST);
  demand(objects * DIGEST <= bytes.length - HEADER, `it names ${objects} objects in ${bytes.length} bytes`);
  for (const which of [0, 1]) {
    demand(Buffer.concat(kept.map((lists) => lists[which])).equals(all), 'other objects are kept than it names');
  }
  for (const [prefix, lists] of kept.entries()) {
    for (let at = 0; at < lists[0].length; at += DIGEST) demand(lists[0][at] === prefix, 'an object is kept elsewhere');
  }
  for (let at = DIGEST; at < all.length; at += DIGEST) {
    demand(
      Buffer.compare(all.subarray(at - DIGEST, at), all.subarray(at, at + DIGEST)) < 0,
      'its objects do not ascend',
    );
  }
}

export function fuzz(bytes) {
  check(bytes);
  if (bytes.length < HEADER) return;
  const forged = Buffer.from(bytes);
  forged.set(checksumOf(forged), CHECKSUM);
  check(forged);
}
