/** Random changes of a tree, by a seed: names, content, metadata, files that stay open. */
import {
  chmodSync,
  closeSync,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../src/base/errno.ts';
import type { Random } from '../support/random.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e'];
const MOST_DEPTH = 4;

export class RandomChanges {
  readonly #root: string;
  readonly #random: Random;
  readonly #open: number[] = [];

  constructor(root: string, random: Random) {
    this.#root = root;
    this.#random = random;
  }

  /** One change; an error of the file system is none: the names are random, too. */
  step(): void {
    try {
      this.#change();
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
    }
  }

  /** Closes all files: they are written to until then. */
  end(): void {
    for (const fd of this.#open.splice(0)) closeSync(fd);
  }

  /** An existing directory, and below it a name that may exist. */
  #place(): string {
    let path = this.#root;
    for (let depth = 0; depth < MOST_DEPTH && this.#random.integer(0, 3) > 0; depth++) {
      const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
      if (below.length === 0) break;
      path = join(path, this.#random.pick(below).name);
    }
    const there = readdirSync(path);
    const isThere = there.length > 0 && this.#random.integer(0, 2) > 0;
    return join(path, isThere ? this.#random.pick(there) : this.#random.pick(NAMES));
  }

  #change(): void {
    const random = this.#random;
    const path = this.#place();
    const write = (): void => writeFileSync(path, random.bytes(random.integer(0, 200)));
    const rename = (): void => renameSync(path, this.#place());
    const open = (): void => this.#writeOpen(path);
    const changes: readonly (() => unknown)[] = [
      write,
      write,
      rename,
      rename,
      rename,
      open,
      open,
      () => mkdirSync(path),
      () => rmSync(path, { recursive: true }),
      () => unlinkSync(path),
      () => linkSync(path, this.#place()),
      () => symlinkSync(random.pick(NAMES), path),
      () => chmodSync(path, random.pick([0o600, 0o644, 0o755])),
      () => utimesSync(path, random.integer(1, 1e9), random.integer(1, 1e9)),
      () => truncateSync(path, random.integer(0, 300)),
      () => copyFileSync(path, this.#place()),
    ];
    random.pick(changes)();
  }

  /** Opens a file, which stays open; or writes to one that is open, whatever has become of its name. */
  #writeOpen(path: string): void {
    const random = this.#random;
    if (this.#open.length < 4 && lstatSync(path).isFile()) this.#open.push(openSync(path, random.pick(['r+', 'a'])));
    if (this.#open.length === 0) return;
    const i = random.integer(0, this.#open.length - 1);
    writeSync(this.#open[i] as number, random.bytes(20));
    if (random.integer(0, 2) === 0) closeSync(this.#open.splice(i, 1)[0] as number);
  }
}
