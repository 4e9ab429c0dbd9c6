/** Waiting for a state, with a limit that says only that it will not come. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves when `isSo` holds. */
export async function until(what: string, isSo: () => boolean): Promise<void> {
  const limit = performance.now() + 60_000;
  while (!isSo()) {
    if (performance.now() > limit) throw new Error(`it never came to this: ${what}`);
    await sleep(10);
  }
}
