/** A thread that copies objects. Started by copy-objects.ts. */
import '../system/exact-paths.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { equalBytes, toHex } from '../base/bytes.ts';
import { DIGEST_SIZE, digestContent } from '../base/digest.ts';
import { isErrno } from '../base/errno.ts';
import { reasonOf } from '../base/error.ts';
import { chunkBuffer, readUpTo } from '../objects/read-content.ts';
import { checkShape } from '../objects/verify.ts';
import { InputError } from '../store/content-copier.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { closeFd } from '../system/descriptors.ts';
import { emptyFileVersion, fileVersionOf } from '../system/file-status.ts';
import { errnoText } from '../system/libc.ts';
import { type CopySettings, TAKEN } from './copy-objects.ts';
import { COUNTS, type CopyMessage, countObject, failedMessage } from './copy-threads.ts';

const settings = workerData as CopySettings;
const { turn, sizes, digests, thread } = settings;
const counts = settings.counts.subarray(thread * COUNTS, (thread + 1) * COUNTS);
const post = (message: CopyMessage): void => parentPort?.postMessage(message);
const open = ({ path, meta, place }: CopySettings['target']): LocalRepository =>
  new LocalRepository(path, meta, -1, place);

/** Thrown if the main thread has requested a stop. */
class StoppedError extends Error {}

function throwIfStopped(): void {
  if (Atomics.load(turn, 1) !== 0) throw new StoppedError('stopped');
}

const target = open(settings.target);
/** Their directories are kept open, so that an object takes one call to open. */
const entered = settings.sources.map((source) => open(source).enter());
const sources = settings.sources.map(
  ({ path, meta }, i) => new LocalRepository(path, meta, (entered[i] as (typeof entered)[number]).fd),
);
const writer = new ObjectWriter(target, {
  durable: settings.durable,
  prefix: settings.prefix,
  checkpoint: throwIfStopped,
});
const status = emptyFileVersion();

/** @returns the problem at each source, or undefined */
function copy(digest: Uint8Array, size: number): string | undefined {
  const problems: string[] = [];
  for (const source of sources) {
    const fd = source.open(digest);
    const problem = isErrno(fd) ? errnoText(fd) : copyFrom(fd, digest, size);
    if (problem === undefined) return undefined;
    problems.push(`${source.path}: ${problem}`);
  }
  return problems.join('; ') || 'no repository was given';
}

function copyFrom(fd: number, digest: Uint8Array, size: number): string | undefined {
  try {
    const shape = checkShape(fd, size);
    if (shape !== undefined) return shape;
    const buffer = chunkBuffer();
    if (size <= buffer.length) {
      if (readUpTo(fd, buffer, size, 0) !== size) return 'it became shorter while it was read';
      const bytes = buffer.subarray(0, size);
      const content = digestContent(target.hash, bytes);
      if (!equalBytes(content.digest, digest)) return 'its content is corrupted';
      writer.putBytes(bytes, content);
      return undefined;
    }
    fileVersionOf(fd, status);
    const { digest: actual } = writer.putFile(fd, size, status.dev, digest);
    return equalBytes(actual, digest) ? undefined : 'its content is corrupted';
  } catch (error) {
    if (error instanceof InputError) return reasonOf(error);
    throw error;
  } finally {
    closeFd(fd);
  }
}

function copyAll(): void {
  for (let from = Atomics.add(turn, 0, TAKEN); from < sizes.length; from = Atomics.add(turn, 0, TAKEN)) {
    for (let i = from; i < Math.min(sizes.length, from + TAKEN); i++) {
      throwIfStopped();
      const digest = digests.subarray(i * DIGEST_SIZE, (i + 1) * DIGEST_SIZE);
      const size = sizes[i] as number;
      const isThere = writer.holds(digest, size);
      const problem = isThere ? undefined : copy(digest, size);
      if (problem !== undefined) {
        post({ type: 'failure', failure: { object: toHex(digest), problem } });
        continue;
      }
      countObject(counts, size, !isThere);
    }
  }
}

try {
  try {
    copyAll();
  } finally {
    // what is complete stays, whatever happened
    writer.flush();
  }
} catch (error) {
  if (!(error instanceof StoppedError)) post(failedMessage(error));
} finally {
  writer.close();
  for (const directory of entered) directory.close();
}
