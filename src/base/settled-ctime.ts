/** Since when a file's ctime tells it from what is written to it later. */

/** The kernel's clock for timestamps may tick only every 10 ms. */
const TICKS_MS = 50;
/** Times without a fraction may come from a file system that keeps whole seconds (ext3, ext4 with inodes of 128 bytes), or every second one. */
const WHOLE_SECONDS_MS = 2_000;

/**
 * Whether whatever is written to a file from `now` on gets another ctime than the one that it has. Not so where the last change was
 * so shortly before that the clock of the file system may show the same time still; nor where it lies in the future.
 * @param now in ms since 1970, as `ctimeMs`
 */
export function isCtimeSettled(ctimeMs: number, now: number): boolean {
  const isWhole = ctimeMs % 1_000 === 0;
  return now - ctimeMs >= (isWhole ? WHOLE_SECONDS_MS + TICKS_MS : TICKS_MS);
}
