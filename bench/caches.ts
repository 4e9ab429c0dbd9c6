/** Dropping the machine's caches. */
import { accessSync, constants, writeFileSync } from 'node:fs';
import { run } from './process.ts';

const DROP_CACHES = '/proc/sys/vm/drop_caches';

/** The reason why cold samples cannot be taken; undefined if they can. */
export function coldUnavailable(): string | undefined {
  try {
    accessSync(DROP_CACHES, constants.W_OK);
    return undefined;
  } catch {
    return `${DROP_CACHES} cannot be written (only root can, and not in a container with a read-only /proc/sys)`;
  }
}

/** Writes all dirty data. */
export async function sync(signal: AbortSignal): Promise<void> {
  await run(['sync'], signal);
}

/** `sync; echo 3 > /proc/sys/vm/drop_caches`: page cache, dentries and inodes. */
export async function dropCaches(signal: AbortSignal): Promise<void> {
  await sync(signal);
  writeFileSync(DROP_CACHES, '3\n');
}
