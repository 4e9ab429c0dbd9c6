/**
 * The directories that files are extracted into. Other users may change them at any time: each is opened from an open
 * directory above it, and no component may be a symbolic link. So nothing is ever written outside of the target.
 */
import { constants } from 'node:fs';
import { type Errno, isErrno } from '../base/errno.ts';
import { direntName } from '../manifest/lookup.ts';
import type { ManifestTables } from '../manifest/tables.ts';
import { openBeneath, openHow } from '../system/beneath.ts';
import { closeFd } from '../system/descriptors.ts';
import { O_PATH } from '../system/libc.ts';
import type { ExtractPlan } from './plan.ts';

/** Needs no permission to read the directory. */
const DIRECTORY = openHow(O_PATH | constants.O_DIRECTORY);
/** Directories that a thread keeps open. */
const MOST_OPEN = 64;
/** Below PATH_MAX: a longer path is opened in pieces. */
const MOST_BYTES = 4000;
const SLASH: Uint8Array = Uint8Array.of(0x2f);
const NUL: Uint8Array = Uint8Array.of(0);

/** One per thread. */
export class TargetTree {
  readonly #root: number;
  readonly #tables: ManifestTables;
  readonly #plan: ExtractPlan;
  /** By number of the directory; the least recently used first. */
  readonly #open = new Map<number, number>();

  /** @param root a descriptor of the target, which remains the caller's */
  constructor(root: number, tables: ManifestTables, plan: ExtractPlan) {
    this.#root = root;
    this.#tables = tables;
    this.#plan = plan;
  }

  /** An O_PATH descriptor of a directory, valid until the next call. */
  open(directory: number): number | Errno {
    if (directory === 0) return this.#root;
    const known = this.#open.get(directory);
    if (known !== undefined) {
      this.#open.delete(directory);
      this.#open.set(directory, known);
      return known;
    }
    const fd = this.#openFromAbove(directory);
    if (isErrno(fd)) return fd;
    this.#open.set(directory, fd);
    for (const [oldest, old] of this.#open) {
      if (this.#open.size <= MOST_OPEN) break;
      this.#open.delete(oldest);
      closeFd(old);
    }
    return fd;
  }

  /** Closes all descriptors. */
  close(): void {
    for (const fd of this.#open.values()) closeFd(fd);
    this.#open.clear();
  }

  #openFromAbove(directory: number): number | Errno {
    const names: Uint8Array[] = [];
    let above = directory;
    let start: number | undefined;
    while (start === undefined) {
      names.push(direntName(this.#tables, this.#plan.dirent[above] as number));
      above = this.#plan.parent[above] as number;
      start = above === 0 ? this.#root : this.#open.get(above);
    }
    let at = start;
    while (names.length > 0) {
      const path = takePath(names);
      const next = openBeneath(at, path, DIRECTORY);
      if (at !== start) closeFd(at);
      if (isErrno(next)) return next;
      at = next;
    }
    return at;
  }
}

/** Takes names from the end of the list, as a path with a NUL at its end. */
function takePath(names: Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (let name = names.at(-1); name !== undefined && length + name.length < MOST_BYTES; name = names.at(-1)) {
    if (length > 0) parts.push(SLASH);
    parts.push(name);
    length += name.length + 1;
    names.pop();
  }
  return Buffer.concat([...parts, NUL]);
}
