/** A worker thread that reads, hashes and stores contents. Started by content-pool.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { digestContent } from '../base/digest.ts';
import { isErrno } from '../base/errno.ts';
import { CfsError, reasonOf } from '../base/error.ts';
import { chunkBuffer } from '../store/content.ts';
import { InputError, readInput } from '../store/content-copier.ts';
import { openRepository } from '../store/local.ts';
import { ObjectWriter, WHOLE_READ_LIMIT } from '../store/object-writer.ts';
import { statFd } from '../system/file-status.ts';
import { closeFd } from '../system/syscall.ts';
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
const repository = openRepository(settings.store);
const writer = new ObjectWriter(repository, {
  durable: settings.durable,
  prefix: settings.prefix,
  checkpoint: throwIfStopped,
});

/** Thrown where the main thread has asked to stop. */
class StoppedError extends Error {}

function throwIfStopped(): void {
  if (Atomics.load(settings.stop, 0) !== 0) throw new StoppedError('stopped');
}

/** @throws InputError where the file cannot be read or changed, CfsError (store) where it cannot be stored */
function work({ fd, state }: OpenContent): ContentResult {
  throwIfStopped();
  const result =
    state.size <= WHOLE_READ_LIMIT
      ? readSmall(fd, state.size)
      : { content: writer.putFile(fd, state.size, state.device) };
  const now = statFd(fd);
  if (isErrno(now) || result.content.size !== state.size || !isUnchanged(state, now)) {
    throw new InputError('it changed while it was packed. Pack a snapshot, or stop what writes to it');
  }
  return result;
}

function readSmall(fd: number, size: number): ContentResult {
  const buffer = chunkBuffer();
  const bytes = buffer.subarray(0, readInput(fd, buffer, size, 0));
  if (bytes.length <= settings.inlineMax)
    return { content: digestContent(repository.hash, bytes), inline: bytes.slice() };
  return { content: writer.putBytes(bytes) };
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

/** What waits for its name is whole: the next run need not store it again. */
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
  return { type: 'failed', kind, message: reasonOf(error), ...(stack === undefined ? {} : { stack }) };
}

/** An error here is no news: who looks for an object next meets it too. */
function look({ check, thread, threads }: ToWorker & { type: 'check' }): void {
  try {
    checkObjects(check, thread, threads, (digest, size) => writer.holds(digest, size), throwIfStopped);
  } catch {
    // what is not known is looked for by the main thread
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
