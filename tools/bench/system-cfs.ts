/** cfs: the directory packed into an image, mounted by the kernel driver. One row for each way of verifying. */

import { cfsUnavailable, type MountedImage, mountImage, unmountImage } from './cfs-daemon.ts';
import type { Bench, System, SystemRow, Tree } from './contract.ts';
import { run, toolCommand } from './process.ts';

class Cfs implements System {
  readonly name: string;
  readonly #options: readonly string[];
  readonly #tree: Tree;
  readonly #bench: Bench;
  readonly #mountpoint: string;
  #mounted: MountedImage | undefined;

  constructor(name: string, options: readonly string[], tree: Tree, bench: Bench) {
    this.name = name;
    this.#options = options;
    this.#tree = tree;
    this.#bench = bench;
    this.#mountpoint = bench.scratch.directory(`mnt-${name}-${tree.name}`);
  }

  available(): string | undefined {
    return cfsUnavailable();
  }

  async start(): Promise<string> {
    const image = await imageOf(this.#tree, this.#bench);
    const store = this.#bench.scratch.file('store');
    this.#mounted = await mountImage(store, image, this.#mountpoint, this.#options, this.#bench.signal);
    return this.#mountpoint;
  }

  async restart(): Promise<string> {
    await this.stop();
    return this.start();
  }

  async stop(): Promise<void> {
    const pid = this.#mounted?.pid;
    this.#mounted = undefined;
    await unmountImage(this.#mountpoint, pid);
  }
}

/** All rows of cfs mount the same image and objects. */
function imageOf(tree: Tree, bench: Bench): Promise<string> {
  return bench.once(`cfs image ${tree.name}`, async () => {
    bench.progress(`packing ${tree.path} for cfs`);
    const image = bench.scratch.file(`${tree.name}.cfs`);
    const store = bench.scratch.file('store');
    const options = ['--no-fsync', '--quiet', '--store', store];
    await run(toolCommand('cfs-mkimage', ...options, tree.path, image), bench.signal);
    return image;
  });
}

/** A row of the systems table: cfs with these mount options. */
export function cfsRow(name: string, description: string, options: readonly string[]): SystemRow {
  return { name, description, create: (tree, bench) => new Cfs(name, options, tree, bench) };
}
