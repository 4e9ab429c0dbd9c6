/** Some of the steps at which a long test disturbs a program. `make test-posix` takes all of them. */

/** Whether a test takes every step. */
export const EACH_STEP = process.env['CFS_KILLS'] !== undefined;

/**
 * The indices of every `stride`-th of `count` steps, and of the last one; all with CFS_KILLS.
 * @param offset different for tests of the same steps, so that together they take more of them
 */
export function sample(count: number, stride: number, offset = 0): number[] {
  const indices = Array.from({ length: count }, (_, i) => i);
  if (EACH_STEP) return indices;
  return indices.filter((i) => i % stride === offset % stride || i === count - 1);
}
