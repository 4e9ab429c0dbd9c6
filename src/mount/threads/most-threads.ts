/** The maximum number of threads that serve one mount: shared memory has room for as many. */
export const MOST_THREADS = 64;
