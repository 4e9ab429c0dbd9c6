/** A thread that extracts entries. Started by extract-pool.ts. */
import '../system/exact-paths.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { LocalRepository } from '../store/local-repository.ts';
import { extractEntries, STOP } from './extract-entries.ts';
import type { ExtractMessage, ExtractWorkerData } from './extract-pool.ts';

const { settings, thread, repositories } = workerData as ExtractWorkerData;
const post = (message: ExtractMessage): void => parentPort?.postMessage(message);

extractEntries(
  settings,
  thread,
  repositories.map(({ path, meta, directory }) => new LocalRepository(path, meta, directory)),
  {
    problem: (problem) => post({ type: 'problem', problem }),
    warning: (line) => post({ type: 'warning', line }),
    fatal: () => void Atomics.store(settings.turn, STOP, 1),
  },
);
