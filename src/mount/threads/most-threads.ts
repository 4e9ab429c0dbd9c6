/** Threads that serve one mount, at most: shared memory has room for as many. */
export const MOST_THREADS = 64;
