/** The maximum number of threads that serve one mount: shared memory has room for as many. */
export const MOST_THREADS = 64;
/** Rows of `CounterMemory` that belong to no serving thread. */
export const MAIN_COUNTERS: number = MOST_THREADS;
export const FETCH_COUNTERS: number = MOST_THREADS + 1;
export const COUNTER_ROWS: number = MOST_THREADS + 2;
