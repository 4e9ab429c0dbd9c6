/** A thread that fetches objects from a remote repository. Started by pull-objects.ts. */
import '../system/exact-paths.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { toHex } from '../base/bytes.ts';
import { DIGEST_SIZE } from '../base/digest.ts';
import type { FetchTask } from '../remote/fetch-plan.ts';
import { HttpClient } from '../remote/http-client.ts';
import { ObjectFetch } from '../remote/object-fetch.ts';
import { LocalRepository } from '../store/local-repository.ts';
import { ObjectWriter } from '../store/object-writer.ts';
import { COUNTS, type CopyMessage, countObject, failedMessage } from './copy-threads.ts';
import type { PullSettings } from './pull-objects.ts';

const settings = workerData as PullSettings;
const { turn, sizes, digests, thread, map, tasks } = settings;
const counts = settings.counts.subarray(thread * COUNTS, (thread + 1) * COUNTS);
const post = (message: CopyMessage): void => parentPort?.postMessage(message);

/** Ends what is under way, for a stop or after an error. */
const ending = new AbortController();
const { signal } = ending;
parentPort?.once('message', () => ending.abort());
// this port alone does not keep the thread
parentPort?.unref();

const { path, meta, place } = settings.target;
const writer = new ObjectWriter(new LocalRepository(path, meta, -1, place), {
  durable: settings.durable,
  prefix: settings.prefix,
  checkpoint: () => signal.throwIfAborted(),
});
const client = new HttpClient(settings.http);
const urls = settings.mirrors.map((text) => new URL(text));
const fetch = new ObjectFetch(client, urls, { hash: meta.hash, digests, sizes, map }, writer, {
  onStored: (row) => countObject(counts, sizes[row] as number, true),
});

async function pull(task: FetchTask): Promise<void> {
  for (const { row, problem } of await fetch.run(task, signal)) {
    const object = toHex(digests.subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE));
    post({ type: 'failure', failure: { object, problem } });
  }
}

async function pullNext(): Promise<void> {
  for (let i = Atomics.add(turn, 0, 1); i < tasks.length; i = Atomics.add(turn, 0, 1)) {
    if (Atomics.load(turn, 1) !== 0) return;
    signal.throwIfAborted();
    await pull(tasks[i] as FetchTask);
  }
}

try {
  const results = await Promise.allSettled(
    Array.from({ length: settings.requests }, async () => {
      try {
        await pullNext();
      } catch (error) {
        // the others of this thread end as well
        ending.abort();
        throw error;
      }
    }),
  );
  // what is complete stays, whatever happened
  writer.flush();
  const reasons = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  const error = reasons.find((reason) => (reason as Error).name !== 'AbortError');
  if (error !== undefined) throw error;
} catch (error) {
  post(failedMessage(error));
} finally {
  writer.close();
  await client.close();
}
