/** A thread that reads contents ahead. Started by piece-stream.ts. */
import '../system/exact-paths.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { LocalRepository } from '../store/local-repository.ts';
import type { PieceMessage, PieceWorkerData } from './piece-stream.ts';
import { PieceReader, readBatches } from './read-pieces.ts';

const { settings, repositories } = workerData as PieceWorkerData;
const post = (message: PieceMessage): void => parentPort?.postMessage(message);
const reader = new PieceReader(
  settings,
  repositories.map(({ path, meta, directory }) => new LocalRepository(path, meta, directory)),
  (line) => post({ type: 'warning', line }),
);
try {
  readBatches(settings, reader, (failure) => post({ type: 'failed', failure }));
} finally {
  reader.close();
}
