/** Threads that extract entries; in the calling thread if there are only a few. */
import { Worker } from 'node:worker_threads';
import { programPath } from '../base/installation.ts';
import { startThreads, threadError } from '../base/threads.ts';
import { LocalRepository, type Meta } from '../store/local-repository.ts';
import type { StoreDirectory } from '../store/store-directory.ts';
import { type ExtractProblem, type ExtractSettings, extractEntries } from './extract-entries.ts';

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
 * Extracts all entries of the plan, or as many as there are before `settings.turn[1]` is set.
 * @param threads 1 or more
 * @param bytes of contents, by which it is decided whether threads are worth starting
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
    if (threads === 1 || settings.plan.entries.length <= FEW_ENTRIES) {
      const own = given.map(({ path, meta, directory }) => new LocalRepository(path, meta, directory));
      extractEntries(settings, 0, own, { ...listenTo(listener), fatal: () => void Atomics.store(settings.turn, 1, 1) });
    } else {
      await inThreads(settings, given, threads, listener);
    }
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
      Atomics.store(settings.turn, 1, 1);
    });
    return new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  });
  await Promise.all(ends);
  if (failure !== undefined) throw failure;
}
