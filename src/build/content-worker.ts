/** A worker thread that reads, hashes and stores contents. Started by content-pool.ts. */
import { closeSync, fstatSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { printable } from '../bytes.ts';
import { digestContent } from '../digest.ts';
import { CfsError, reasonOf } from '../error.ts';
import { chunkBuffer } from '../store/content.ts';
import { openRepository } from '../store/local.ts';
import { InputError, ObjectWriter, readUpTo, WHOLE_READ_LIMIT } from '../store/object-writer.ts';
import type { ContentJob, ContentResult, FromWorker, ToWorker, WorkerSettings } from './content-job.ts';

const settings = workerData as WorkerSettings;
const repository = openRepository(settings.store);
const writer = new ObjectWriter(repository, { durable: settings.durable, prefix: settings.prefix });

const cannotPack = (job: ContentJob, reason: string): CfsError =>
  new CfsError('source', `Cannot pack ${printable(job.path)}: ${reason}`);

function process(job: ContentJob): ContentResult {
  try {
    const result = job.size <= WHOLE_READ_LIMIT ? readSmall(job) : { content: readLarge(job) };
    const now = fstatSync(job.fd, { bigint: true });
    if (result.content.size !== job.size || now.size !== BigInt(job.size) || now.ctimeNs !== job.ctimeNs) {
      throw cannotPack(job, 'it changed while it was packed. Pack a snapshot, or stop what writes to it.');
    }
    return result;
  } finally {
    closeSync(job.fd);
  }
}

function readSmall(job: ContentJob): ContentResult {
  const buffer = chunkBuffer();
  let length: number;
  try {
    length = readUpTo(job.fd, buffer, job.size, 0);
  } catch (error) {
    throw cannotPack(job, reasonOf(error));
  }
  const bytes = buffer.subarray(0, length);
  if (length <= settings.inlineMax) {
    return { content: digestContent(repository.hash, bytes), inline: bytes.slice() };
  }
  return { content: writer.putBytes(bytes) };
}

function readLarge(job: ContentJob): ContentResult['content'] {
  try {
    return writer.putFile(job.fd, job.size, job.device);
  } catch (error) {
    throw error instanceof InputError ? cannotPack(job, error.message) : error;
  }
}

const post = (message: FromWorker): void => parentPort?.postMessage(message);

function handle(message: ToWorker): void {
  if (message.type === 'finish') {
    writer.flush();
    post({ type: 'finished', statistics: writer.statistics });
    return;
  }
  const results = message.jobs.map(process);
  post({ type: 'done', serial: message.serial, results });
}

parentPort?.on('message', (message: ToWorker) => {
  try {
    handle(message);
  } catch (error) {
    const kind = error instanceof CfsError ? error.kind : 'bug';
    const stack = error instanceof Error ? error.stack : undefined;
    post({ type: 'failed', kind, message: reasonOf(error), ...(stack === undefined ? {} : { stack }) });
  }
});
