/** Clocks. */

/**
 * Milliseconds on CLOCK_MONOTONIC, which all threads and processes share and steps of the wall clock do not change. An
 * integer that wraps at 32 bits, after 49.7 days: take differences as `(later - earlier) >>> 0`.
 */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return (seconds * 1_000 + Math.floor(nanoseconds / 1_000_000)) | 0;
}
