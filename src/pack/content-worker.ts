/** A worker thread that reads, hashes and stores contents. Started by content-pool.ts. */
import '../system/exact-paths.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { type ContentDigest, ContentHasher, digestContent } from '../base/digest.ts';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { chunkBuffer, readContent, watched } from '../objects/read-content.ts';
import { InputError, readInput, readWholeInput } from '../store/content-copier.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { ObjectWriter, WHOLE_READ_LIMIT } from '../store/object-writer.ts';
import { closeFd } from '../system/descriptors.ts';
import { statFd } from '../system/file-status.ts';
import {
  type Batch,
  type ContentResult,
  type Failed,
  type FromWorker,
  packResults,
  type ToWorker,
  unpackJobs,
  type WorkerSettings,
} from './content-job.ts';
import { isUnchanged } from './file-state.ts';
import { checkObjects } from './object-check.ts';
import type { OpenContent } from './source.ts';

const settings = workerData as WorkerSettings;
const repository = new LocalRepository(settings.store, settings.meta, -1, settings.place);
const writer = new ObjectWriter(repository, {
  durable: settings.durable,
  prefix: settings.prefix,
  checkpoint: throwIfStopped,
  openDirectories: settings.storeDirectories,
});

/** Thrown if the main thread has requested a stop. */
class StoppedError extends Error {}

function throwIfStopped(): void {
  if (Atomics.load(settings.stop, 0) !== 0) throw new StoppedError('stopped');
}

/** @throws InputError if the file cannot be read or changed, CfsError (store) if it cannot be stored */
function work(file: OpenContent): ContentResult {
  throwIfStopped();
  const result = file.state.size < WHOLE_READ_LIMIT ? packSmall(file) : packLarge(file);
  checkUnchanged(file);
  return result;
}

function checkUnchanged({ fd, state }: OpenContent): void {
  const now = statFd(fd);
  if (!isErrno(now) && isUnchanged(state, now)) return;
  throw new InputError('it changed while it was packed', {
    hint: 'Pack a snapshot, or stop the program that writes to it.',
  });
}

function packSmall(file: OpenContent): ContentResult {
  const buffer = chunkBuffer();
  const length = readWholeInput(file.fd, buffer, file.state.size);
  if (length !== file.state.size) throw wrongSize(file, length);
  const bytes = buffer.subarray(0, length);
  if (bytes.length <= settings.inlineMax)
    return { content: digestContent(repository.hash, bytes), inline: bytes.slice() };
  return { content: settings.hashOnly === true ? digestContent(repository.hash, bytes) : writer.putBytes(bytes) };
}

function packLarge(file: OpenContent): ContentResult {
  const { fd, state } = file;
  if (readInput(fd, chunkBuffer(), 1, state.size) > 0) throw wrongSize(file, state.size + 1);
  const content = settings.hashOnly === true ? hashLarge(fd, state.size) : writer.putFile(fd, state.size, state.device);
  if (content.size !== state.size) throw wrongSize(file, content.size);
  return { content };
}

function hashLarge(fd: number, size: number): ContentDigest {
  const hasher = new ContentHasher(repository.hash);
  readContent(fd, size, watched(hasher, throwIfStopped));
  return hasher.finish();
}

/**
 * If the file has another size by now it has changed; otherwise its size is made up, as on procfs and sysfs. Their
 * times are made up, too, and mean nothing.
 */
function wrongSize(file: OpenContent, length: number): InputError {
  const now = statFd(file.fd);
  const { size } = file.state;
  if (isErrno(now) || now.size !== size) checkUnchanged(file);
  const read = length > size ? 'more can be read' : `${length} can be read`;
  return new InputError(`its size differs from its content: it reports ${size} bytes, and ${read}`, {
    hint: 'Files with content that is generated while it is read, as on procfs, sysfs and some FUSE file systems, are like this: pack a copy of them, or leave them out, as `oneFileSystem` does.',
  });
}

const post = (message: FromWorker): void => parentPort?.postMessage(message);

function workBatch(batch: Batch): void {
  const jobs = unpackJobs(batch);
  let at = 0;
  try {
    const results: ContentResult[] = [];
    for (; at < jobs.length; at++) results.push(work(jobs[at] as OpenContent));
    post({ type: 'done', results: packResults(batch.serial, results) });
  } catch (error) {
    if (error instanceof StoppedError) return;
    keepWhatIsStored();
    post({ ...failure(error), serial: batch.serial, job: at });
  } finally {
    for (const { fd } of jobs) closeFd(fd);
  }
}

/** Files that wait for their names are complete: the next run need not store them again. */
function keepWhatIsStored(): void {
  try {
    writer.flush();
  } catch {
    // the first error is the one to report
  }
}

function failure(error: unknown): Failed {
  const kind = error instanceof InputError ? 'source' : error instanceof CfsError ? error.kind : 'bug';
  const stack = error instanceof Error ? error.stack : undefined;
  const hint = error instanceof InputError || error instanceof CfsError ? error.hint : undefined;
  return { type: 'failed', kind, message: reasonOf(error), hint, ...(stack === undefined ? {} : { stack }) };
}

/** An error here is ignored: the next lookup of an object meets it too. */
function look({ check, thread, threads }: ToWorker & { type: 'check' }): void {
  try {
    checkObjects(check, thread, threads, (digest, size) => writer.holds(digest, size), throwIfStopped);
  } catch {
    // unknown ones are looked up by the main thread
  }
}

function finish(): void {
  try {
    writer.flush();
    post({ type: 'finished', statistics: writer.statistics });
  } catch (error) {
    post(failure(error));
  }
}

parentPort?.on('message', (message: ToWorker) => {
  if (message.type === 'check') look(message);
  else if (message.type === 'batch') workBatch(message.batch);
  else if (message.type === 'finish') finish();
  else {
    writer.close();
    parentPort?.close();
  }
});
