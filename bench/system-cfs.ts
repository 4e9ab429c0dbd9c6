/** cfs: the directory packed into an image. One row for each driver and each way of verifying. */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cfsUnavailable, type MountedImage, mountImage, unmountImage } from './cfs-daemon.ts';
import type { Bench, System, SystemRow, Tree } from './contract.ts';
import { run, toolCommand } from './process.ts';

class Cfs implements System {
  readonly name: string;
  readonly mounts = true;
  readonly #options: readonly string[];
  readonly #tree: Tree;
  readonly #bench: Bench;
  readonly #mountpoint: string;
  #image = '';
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

  async prepare(): Promise<void> {
    this.#image = await cfsImageOf(this.#tree, this.#bench);
  }

  async start(): Promise<string> {
    const store = cfsStoreOf(this.#tree);
    this.#mounted = await mountImage(store, this.#image, this.#mountpoint, this.#options, this.#bench.signal);
    return this.#mountpoint;
  }

  async stop(): Promise<void> {
    const pid = this.#mounted?.pid;
    this.#mounted = undefined;
    await unmountImage(this.#mountpoint, pid);
  }

  daemon(): number | undefined {
    return this.#mounted?.pid;
  }
}

/** The store of the image of `tree`. */
export const cfsStoreOf = (tree: Tree): string => join(tree.work, 'store');

/** The image of `tree`, which all rows of cfs mount. */
export function cfsImageOf(tree: Tree, bench: Bench): Promise<string> {
  return bench.once(`cfs image ${tree.name}`, async () => {
    bench.progress(`packing ${tree.path} for cfs`);
    const image = join(tree.work, `${tree.name}.cfs`);
    mkdirSync(dirname(image), { recursive: true });
    const options = ['--no-fsync', '--quiet', '--store', cfsStoreOf(tree)];
    await run(toolCommand('cfs-mkimage', ...options, tree.path, image), bench.signal);
    return image;
  });
}

function row(name: string, description: string, byDefault: boolean, options: readonly string[]): SystemRow {
  return { name, description, byDefault, create: (tree, bench) => new Cfs(name, options, tree, bench) };
}

/** cfs with each driver and each way of verifying. The rows of another driver are two lines. */
export const CFS: readonly SystemRow[] = [
  row('cfs', 'cfs, kernel driver, verify=open', true, ['verify=open']),
  row('cfs-read', 'cfs, kernel driver, verify=read', true, ['verify=read']),
  row('cfs-off', 'cfs, kernel driver, verify=off', true, ['verify=off']),
  row('cfs-native', 'cfs, fuse-native driver, verify=open', false, ['driver=fuse-native', 'verify=open']),
  row('cfs-native-read', 'cfs, fuse-native driver, verify=read', false, ['driver=fuse-native', 'verify=read']),
  row('cfs-native-off', 'cfs, fuse-native driver, verify=off', false, ['driver=fuse-native', 'verify=off']),
];
