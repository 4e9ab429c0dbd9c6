/** How much of the disk of a cache is free, and is to be free. */
import { statfsSync } from 'node:fs';
import type { DiskPart } from '../base/byte-size.ts';

/** Stored bytes after which a mount looks again. */
const LOOK_AFTER = 64 << 20;
/** Deleted files of which mounts let go within 10 s take space until then. */
const SETTLED_MS = 20_000;

/** Bytes of a disk: its size, and what is free for this user. */
export interface DiskSpace {
  readonly size: number;
  readonly free: number;
}

/** Undefined if there is no such directory. */
function spaceAt(path: string): DiskSpace | undefined {
  try {
    const { bavail, blocks, bsize } = statfsSync(path);
    return { free: bavail * bsize, size: blocks * bsize };
  } catch {
    return undefined; // a cache that was deleted is made again
  }
}

export class FreeSpace {
  readonly #path: string;
  readonly #wanted: DiskPart | undefined;
  readonly #ask: (path: string) => DiskSpace | undefined;
  #stored = 0;

  /** @param wanted what is to be free; undefined: nothing */
  constructor(path: string, wanted: DiskPart | undefined, ask: (path: string) => DiskSpace | undefined = spaceAt) {
    this.#path = path;
    this.#wanted = wanted;
    this.#ask = ask;
  }

  /** Notes that bytes were stored. @returns whether it is time to look at the disk */
  stored(bytes: number): boolean {
    if (this.#wanted === undefined) return false;
    this.#stored += bytes;
    if (this.#stored < LOOK_AFTER) return false;
    this.#stored = 0;
    return true;
  }

  /**
   * The bytes that must be deleted; 0 also while the space of files that were just deleted is not free yet.
   * @param evicted when a process deleted files of the cache last, in milliseconds since 1970
   */
  missing(evicted: number, now: number = Date.now()): number {
    if (this.#wanted === undefined || Math.abs(now - evicted) < SETTLED_MS) return 0;
    const space = this.#ask(this.#path);
    return space === undefined ? 0 : Math.max(0, this.#wantedOf(space) - space.free);
  }

  /** Whether there is no space for more bytes. */
  isTooLittleFor(bytes: number): boolean {
    const space = this.#ask(this.#path);
    return space !== undefined && space.free < bytes + this.#wantedOf(space);
  }

  #wantedOf({ size }: DiskSpace): number {
    if (this.#wanted === undefined) return 0;
    return 'bytes' in this.#wanted ? this.#wanted.bytes : (size * this.#wanted.percent) / 100;
  }
}
