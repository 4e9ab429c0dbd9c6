/** The loop of the probe that opens, reads and closes files, in this thread or in several at once. */
import { closeSync, openSync, readSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

interface Share {
  readonly paths: readonly Uint8Array[];
  /** Bytes to read of each file. */
  readonly size: number;
}

interface Done {
  readonly count: number;
  readonly bytes: number;
}

function readFiles(paths: readonly Buffer[], buffer: Buffer): Done {
  let bytes = 0;
  for (const path of paths) {
    const fd = openSync(path, 'r');
    bytes += readSync(fd, buffer, 0, buffer.length, 0);
    closeSync(fd);
  }
  return { count: paths.length, bytes };
}

/** Prepares the threads; the returned function lets them begin, and waits for all of them. */
export async function readInThreads(
  paths: readonly Buffer[],
  size: number,
  threads: number,
): Promise<() => Done | Promise<Done>> {
  if (threads === 1) {
    const buffer = Buffer.alloc(size);
    return () => readFiles(paths, buffer);
  }
  const workers = Array.from({ length: threads }, (_, thread) => {
    const share: Share = { paths: paths.filter((_path, i) => i % threads === thread), size };
    return new Worker(new URL(import.meta.url), { workerData: share });
  });
  await Promise.all(workers.map(answer));
  return async () => {
    const done = workers.map(answer);
    for (const worker of workers) worker.postMessage('begin');
    const all = (await Promise.all(done)) as Done[];
    return all.reduce((sum, one) => ({ count: sum.count + one.count, bytes: sum.bytes + one.bytes }));
  };
}

/** The next message of a worker. @throws the error that ended it */
function answer(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort;
  const { paths, size } = workerData as Share;
  const buffers = paths.map((path) => Buffer.from(path.buffer, path.byteOffset, path.byteLength));
  const buffer = Buffer.alloc(size);
  port.once('message', () => port.postMessage(readFiles(buffers, buffer)));
  port.postMessage('ready');
}
