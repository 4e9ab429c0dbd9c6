/** Makes a cache smaller: its objects that were not used for the longest time are deleted. */
import { lstatSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { ENOENT, errnoOf } from '../base/errno.ts';
import { OBJECT_NAME, PREFIXES, prefixName } from './layout.ts';
import type { LocalRepository } from './local-repository.ts';

/** The part of a full cache that stays: so the next objects do not make it look at all of them again. */
const LEFT = 0.9;
/** Objects that are deleted before other work of the thread. */
const AT_ONCE = 256;
const BLOCK = 4096;

interface CachedObject {
  readonly prefix: string;
  readonly name: string;
  readonly bytes: number;
  /** Milliseconds since 1970, as far as the file system notes when files are read. */
  readonly used: number;
}

/** The sizes of a cache, in bytes on the disk. */
export interface Eviction {
  readonly before: number;
  readonly after: number;
  /** The number of objects that were deleted. */
  readonly deleted: number;
}

/**
 * Deletes objects until a cache has 90 % of `most`, if it has more than that. Open files remain readable. Other work of
 * the thread goes on in between.
 * @param most bytes, of the bytes that the cache has
 * @throws errors of node:fs; CfsError (store) if another directory has taken its place
 */
export async function evict(cache: LocalRepository, most: (before: number) => number): Promise<Eviction> {
  const objects: CachedObject[] = [];
  for (let prefix = 0; prefix < PREFIXES; prefix++) {
    objects.push(...objectsIn(cache, prefixName(prefix)));
    await setImmediate();
  }
  const before = objects.reduce((sum, { bytes }) => sum + bytes, 0);
  const limit = most(before);
  if (before <= limit) return { before, after: before, deleted: 0 };
  objects.sort((a, b) => a.used - b.used);
  let after = before;
  let deleted = 0;
  while (after > limit * LEFT) {
    const object = objects[deleted];
    if (object === undefined) break;
    remove(cache, object);
    after -= object.bytes;
    if (++deleted % AT_ONCE === 0) await setImmediate();
  }
  return { before, after, deleted };
}

function objectsIn(cache: LocalRepository, prefix: string): CachedObject[] {
  const found = cache.within(`objects/${prefix}`, (directory) =>
    directory.names().flatMap((name): CachedObject[] => {
      if (!OBJECT_NAME.test(name)) return [];
      const stat = lstatSync(`/proc/self/fd/${directory.fd}/${name}`, { throwIfNoEntry: false });
      if (stat === undefined) return [];
      const bytes = Math.ceil(stat.size / BLOCK) * BLOCK;
      return [{ prefix, name, bytes, used: Math.max(stat.atimeMs, stat.ctimeMs) }];
    }),
  );
  return found ?? [];
}

/** Another process may be doing the same. */
function remove(cache: LocalRepository, { prefix, name }: CachedObject): void {
  try {
    cache.within(`objects/${prefix}`, (directory) => directory.unlink(name));
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw error;
  }
}
