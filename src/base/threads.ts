/** Worker threads that cannot be started. */
import { CfsError } from './error.ts';

/**
 * node's error if the machine has no room for another thread: pthread_create(3) failed, or its heap could not be
 * created.
 */
const NO_ROOM: ReadonlySet<string | undefined> = new Set(['ERR_WORKER_INIT_FAILED', 'ERR_WORKER_OUT_OF_MEMORY']);

/** The error of a worker thread that ended or did not start, readable for people if the machine is the cause. */
export function threadError(error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!NO_ROOM.has(code)) return error instanceof Error ? error : new Error(String(error));
  return new CfsError('system', `Cannot start another thread: ${message}`, {
    hint: 'The limits of processes (ulimit -u, TasksMax= of a unit, pids.max of a container) or of memory are too low; fewer threads need less: `threads`, `jobs`.',
    cause: error,
  });
}

/**
 * Starts threads; fewer if the machine has no room for more.
 * @param start starts the thread with this number
 * @returns at least one
 * @throws CfsError (system) if not even one can be started
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
