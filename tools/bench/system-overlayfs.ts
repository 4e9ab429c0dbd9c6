/** The kernel's overlayfs over the directory, read-only: what containers use. */
import { readFileSync, symlinkSync } from 'node:fs';
import { errnoName, isErrno } from '../../src/errno.ts';
import { CfsError } from '../../src/error.ts';
import { MS_RDONLY, mount } from '../../src/syscall.ts';
import type { Bench, System, SystemRow, Tree } from './contract.ts';
import { unmount } from './mounts.ts';

class Overlayfs implements System {
  readonly name = 'overlayfs';
  readonly #tree: Tree;
  readonly #bench: Bench;
  readonly #mountpoint: string;

  constructor(tree: Tree, bench: Bench) {
    this.#tree = tree;
    this.#bench = bench;
    this.#mountpoint = bench.scratch.directory(`mnt-overlayfs-${tree.name}`);
  }

  available(): string | undefined {
    if (process.geteuid?.() !== 0) return 'only root mounts overlayfs';
    if (!/^(nodev)?\toverlay$/m.test(readFileSync('/proc/filesystems', 'utf8'))) {
      return 'this kernel has no overlayfs (no "overlay" in /proc/filesystems; try modprobe overlay)';
    }
    return undefined;
  }

  async start(): Promise<string> {
    // two lower layers and no upper one is the read-only form; a link keeps odd characters of the path out of the options
    const empty = this.#bench.scratch.directory('overlayfs-empty');
    const lower = await this.#bench.once(`overlayfs lower ${this.#tree.name}`, () => {
      const link = this.#bench.scratch.file(`overlayfs-lower-${this.#tree.name}`);
      symlinkSync(this.#tree.path, link);
      return Promise.resolve(link);
    });
    const result = mount('overlay', this.#mountpoint, 'overlay', MS_RDONLY, `lowerdir=${lower}:${empty}`);
    if (isErrno(result)) {
      throw new CfsError(
        'system',
        `Cannot mount overlayfs over ${this.#tree.path}: ${errnoName(result)}; dmesg tells more`,
      );
    }
    return this.#mountpoint;
  }

  async restart(): Promise<string> {
    await this.stop();
    return this.start();
  }

  stop(): Promise<void> {
    return unmount(this.#mountpoint);
  }
}

export const OVERLAYFS: SystemRow = {
  name: 'overlayfs',
  description: 'overlayfs, read-only, the directory as its only layer with content',
  create: (tree, bench) => new Overlayfs(tree, bench),
};
