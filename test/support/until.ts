/** Waits for a state, with a limit that only means that it will not come. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Generous: it is not a measurement, and the machine may be busy. */
const PATIENCE_MS = 60_000;

/** Waits until `condition` holds; rejects, naming `what`, if it does not for long. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const limit = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > limit) throw new Error(`waited ${PATIENCE_MS} ms in vain: ${what}`);
    await sleep(20);
  }
}
