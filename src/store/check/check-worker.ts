/** A thread that checks objects. Started by check-pool.ts. */
import '../../system/exact-paths.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { toHex } from '../../base/bytes.ts';
import { errnoOf } from '../../base/errno.ts';
import { CfsError, reasonOf } from '../../base/error.ts';
import { digestsOfNames, mergeDigests } from '../gc/digest-merge.ts';
import type { KeepListFile } from '../gc/object-list-file.ts';
import { openRootIfThere } from '../gc/roots.ts';
import { PREFIXES } from '../layout.ts';
import { LocalRepository } from '../local-repository.ts';
import { type CheckReport, checkPrefix } from './check-directory.ts';
import type { CheckMessage, CheckSettings } from './check-pool.ts';

const settings = workerData as CheckSettings;
const { path, place, meta, roots, turn, done, thread } = settings;
const OBJECTS = 2 * thread;
const BYTES = OBJECTS + 1;

/** Thrown if the main thread has requested a stop. */
class StoppedError extends Error {}

const post = (message: CheckMessage): void => parentPort?.postMessage(message);
const count = (at: number, n: number): void => {
  done[at] = (done[at] as number) + n;
};

const report: CheckReport = {
  damage: (damage) => post({ type: 'damage', damage }),
  oddity: (oddity) => post({ type: 'oddity', oddity }),
  object: () => count(OBJECTS, 1),
  bytes: (length) => {
    if (Atomics.load(turn, 1) !== 0) throw new StoppedError('stopped');
    count(BYTES, length);
  },
};

function failure(error: unknown): CheckMessage {
  if (errnoOf(error) !== undefined) {
    return { type: 'failed', kind: 'store', message: `Cannot check repository ${path}: ${reasonOf(error)}` };
  }
  const kind = error instanceof CfsError ? error.kind : 'bug';
  const stack = error instanceof Error ? error.stack : undefined;
  return { type: 'failed', kind, message: reasonOf(error), ...(stack === undefined ? {} : { stack }) };
}

const lists: KeepListFile[] = [];

/** Reports each object of the directory that a registered image needs and that does not exist. */
function reportMissing(prefix: number, names: readonly string[]): void {
  const there = digestsOfNames(prefix, names);
  const told = new Set<string>();
  for (const list of lists) {
    mergeDigests(
      there,
      list.digests(prefix),
      () => undefined,
      (digest) => {
        const object = toHex(digest);
        if (told.has(object)) return;
        told.add(object);
        const problem = `it is missing; image ${list.header.image} needs it`;
        report.damage({ object, kind: 'missing', problem });
      },
    );
  }
}

try {
  const repository = new LocalRepository(path, meta, -1, place);
  for (const root of roots) {
    const list = openRootIfThere(repository, root);
    if (list !== undefined) lists.push(list);
  }
  for (let prefix = Atomics.add(turn, 0, 1); prefix < PREFIXES; prefix = Atomics.add(turn, 0, 1)) {
    if (Atomics.load(turn, 1) !== 0) break;
    reportMissing(prefix, checkPrefix(repository, prefix, report));
  }
} catch (error) {
  if (!(error instanceof StoppedError)) post(failure(error));
} finally {
  // a thread's descriptors belong to the process
  for (const list of lists) list.close();
}
