/** The directory of a run, and the actions at its end. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CfsError, reasonOf } from '../src/base/error.ts';
import { isBelow, mounts, unmount } from './mounts.ts';

export class Scratch {
  /** Absolute, without symbolic links. */
  readonly path: string;
  readonly #undo: (() => Promise<void>)[] = [];

  /** A fresh directory in `parent`. */
  constructor(parent: string) {
    try {
      this.path = mkdtempSync(join(realpathSync(parent), 'cfs-bench-'));
    } catch (error) {
      throw new CfsError(
        'usage',
        `Cannot make a scratch directory in ${parent}: ${reasonOf(error)}. Choose another with --scratch.`,
      );
    }
  }

  /** An empty directory of this name; it is made if it does not exist. */
  directory(name: string): string {
    const path = join(this.path, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Removes one of its directories. */
  remove(name: string): void {
    this.#refuseMounts();
    rmSync(join(this.path, name), { recursive: true, force: true });
  }

  /** `undo` runs at the end, the last one first, also after errors and signals. */
  defer(undo: () => Promise<void>): void {
    this.#undo.push(undo);
  }

  /** Undoes everything, unmounts the remaining mounts and removes the directory. Returns the failures; never throws. */
  async dispose(): Promise<string[]> {
    const problems: string[] = [];
    const attempt = async (act: () => void | Promise<void>): Promise<void> => {
      try {
        await act();
      } catch (error) {
        problems.push(reasonOf(error));
      }
    };
    for (const undo of this.#undo.reverse()) await attempt(undo);
    this.#undo.length = 0;
    for (const mount of this.#mounts()) await attempt(() => unmount(mount));
    await attempt(() => {
      this.#refuseMounts();
      rmSync(this.path, { recursive: true, force: true });
    });
    return problems;
  }

  #mounts(): string[] {
    return mounts()
      .map((mount) => mount.path)
      .filter((path) => isBelow(path, this.path))
      .reverse();
  }

  /** Removing a tree must never reach into a mount. */
  #refuseMounts(): void {
    const mount = this.#mounts().at(0);
    if (mount !== undefined) {
      throw new CfsError(
        'system',
        `Cannot remove ${this.path}: ${mount} is still mounted. Unmount it, then remove the directory.`,
      );
    }
  }
}
