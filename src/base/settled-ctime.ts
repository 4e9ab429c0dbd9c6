/** When a file's ctime distinguishes it from later writes. */

/** The kernel's clock for timestamps may tick only every 10 ms. */
const TICKS_MS = 50;
/**
 * Times without a fraction may come from a file system that keeps whole seconds (ext3, ext4 with inodes of 128 bytes),
 * or every second one.
 */
const WHOLE_SECONDS_MS = 2_000;

/**
 * Whether any write to a file from `now` on results in another ctime than the current one. That is not so if the last
 * change was so recent that the clock of the file system may still show the same time, or if it is in the future.
 * @param now in ms since 1970, as `ctimeMs`
 */
export function isCtimeSettled(ctimeMs: number, now: number): boolean {
  const isWhole = ctimeMs % 1_000 === 0;
  return now - ctimeMs >= (isWhole ? WHOLE_SECONDS_MS + TICKS_MS : TICKS_MS);
}
