/** Threads that extract entries, beside the calling one; none if there are only a few entries. */
import { Worker } from 'node:worker_threads';
import { programPath } from '../base/installation.ts';
import { startThreads, threadError } from '../base/threads.ts';
import { LocalRepository, type Meta } from '../store/local-repository.ts';
import type { StoreDirectory } from '../store/store-directory.ts';
import { type ExtractProblem, type ExtractSettings, extractInMain, STOP } from './extract-entries.ts';

/** The startup data of a thread. */
export interface ExtractWorkerData {
  readonly settings: ExtractSettings;
  readonly thread: number;
  /** Their directories are open in the whole process. */
  readonly repositories: readonly { readonly path: string; readonly meta: Meta; readonly directory: number }[];
}

export type ExtractMessage =
  | { readonly type: 'problem'; readonly problem: ExtractProblem }
  | { readonly type: 'warning'; readonly line: string };

/** Starting a thread takes as long as some hundred small files. */
const FEW_ENTRIES = 200;

/** Receives problems of files, and lines about copies that were passed over. */
export interface PoolListener {
  problem(problem: ExtractProblem): void;
  warning(line: string): void;
}

/**
 * Extracts all entries of the plan, or as many as there are before a stop is requested.
 * @param threads 1 or more, with the calling one
 */
export async function extractAll(
  settings: ExtractSettings,
  repositories: readonly LocalRepository[],
  threads: number,
  listener: PoolListener,
): Promise<void> {
  const directories: StoreDirectory[] = [];
  try {
    for (const repository of repositories) directories.push(repository.enter());
    const given = repositories.map(({ path, hash, uuid }, i) => ({
      path,
      meta: { hash, uuid },
      directory: (directories[i] as StoreDirectory).fd,
    }));
    const own = given.map(({ path, meta, directory }) => new LocalRepository(path, meta, directory));
    const report = { ...listenTo(listener), fatal: () => void Atomics.store(settings.turn, STOP, 1) };
    if (threads === 1 || settings.plan.entries.length <= FEW_ENTRIES) {
      await extractInMain(settings, 0, own, report, true);
      return;
    }
    const parts = [
      inThreads(settings, given, threads - 1, listener),
      extractInMain(settings, threads - 1, own, report, false),
    ].map((part) =>
      part.catch((error: unknown) => {
        // the others must have ended before the directories are closed
        report.fatal();
        throw error;
      }),
    );
    for (const part of await Promise.allSettled(parts)) if (part.status === 'rejected') throw part.reason;
  } finally {
    for (const directory of directories) directory.close();
  }
}

const listenTo = (listener: PoolListener): PoolListener => ({
  problem: (problem) => listener.problem(problem),
  warning: (line) => listener.warning(line),
});

async function inThreads(
  settings: ExtractSettings,
  repositories: ExtractWorkerData['repositories'],
  threads: number,
  listener: PoolListener,
): Promise<void> {
  let failure: Error | undefined;
  const ends = startThreads(threads, (thread) => {
    const data: ExtractWorkerData = { settings, thread, repositories };
    // they end by themselves: terminating a thread inside a native call kills the process
    const worker = new Worker(programPath('cfs-extract-worker.js'), { workerData: data, trackUnmanagedFds: false });
    worker.on('message', (message: ExtractMessage) => {
      if (message.type === 'problem') listener.problem(message.problem);
      else listener.warning(message.line);
    });
    worker.on('error', (error) => {
      failure ??= threadError(error);
      Atomics.store(settings.turn, STOP, 1);
    });
    return new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  });
  await Promise.all(ends);
  if (failure !== undefined) throw failure;
}
