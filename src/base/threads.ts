/** Worker threads that cannot be started. */
import { CfsError } from './error.ts';

/** What node says where the machine has no room for one more: pthread_create(3) failed, or its heap could not be made. */
const NO_ROOM: ReadonlySet<string | undefined> = new Set(['ERR_WORKER_INIT_FAILED', 'ERR_WORKER_OUT_OF_MEMORY']);

/** An error that a worker thread ended with, or did not start with, for people where it is the machine's. */
export function threadError(error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!NO_ROOM.has(code)) return error instanceof Error ? error : new Error(String(error));
  return new CfsError('system', `Cannot start another thread: ${message}`, {
    hint: 'The limits of processes (ulimit -u, TasksMax= of a unit, pids.max of a container) or of memory are too low; fewer threads need less: `threads`, `jobs`.',
    cause: error,
  });
}

/**
 * Starts threads, fewer where the machine has no room for more.
 * @param start starts the one with this number
 * @returns at least one
 * @throws CfsError (system) where not even one can be started
 */
export function startThreads<T>(count: number, start: (thread: number) => T): T[] {
  const started: T[] = [];
  for (let thread = 0; thread < count; thread++) {
    try {
      started.push(start(thread));
    } catch (error) {
      if (started.length === 0 || !NO_ROOM.has((error as NodeJS.ErrnoException).code)) throw threadError(error);
      break;
    }
  }
  return started;
}
