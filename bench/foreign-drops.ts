/** Notices when another program drops the machine's caches: a warm sample would be a cold one. */
import { readFileSync } from 'node:fs';

const VMSTAT = '/proc/vmstat';

/** How often the caches were dropped, in the text of /proc/vmstat; 0 if the kernel does not count that. */
export function parseDrops(vmstat: string): number {
  const counts = [...vmstat.matchAll(/^drop_(?:pagecache|slab) (\d+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** How often the caches of this machine were dropped since it started. */
export const cacheDrops = (): number => parseDrops(readFileSync(VMSTAT, 'utf8'));
