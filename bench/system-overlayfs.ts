/** overlayfs over the directory, read-only: the form that containers use. In the kernel, and as fuse-overlayfs. */
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench, SystemRow, Tree } from './contract.ts';
import { fuseUnavailable } from './fuse-daemon.ts';
import { fileSystemUnavailable, mountKernel } from './mounts.ts';
import { missingProgram } from './process.ts';
import { ForeignFuseSystem, MountedSystem } from './system-mounted.ts';

/** A link to the tree: it keeps odd characters of the path out of mount options. */
function lowerOf(tree: Tree, bench: Bench): Promise<string> {
  return bench.once(`overlayfs lower ${tree.name}`, () => {
    const link = join(tree.work, `overlayfs-lower-${tree.name}`);
    symlinkSync(tree.path, link);
    return Promise.resolve(link);
  });
}

/** Two lower layers and no upper one is the read-only form. */
const lowerOption = (lower: string, bench: Bench): string =>
  `lowerdir=${lower}:${bench.scratch.directory('overlayfs-empty')}`;

class Overlayfs extends MountedSystem {
  #options = '';

  available(): string | undefined {
    return fileSystemUnavailable('overlay');
  }

  override async prepare(): Promise<void> {
    this.#options = lowerOption(await lowerOf(this.tree, this.bench), this.bench);
  }

  protected mount(): Promise<void> {
    mountKernel('overlay', 'overlay', this.mountpoint, this.#options);
    return Promise.resolve();
  }
}

class FuseOverlayfs extends ForeignFuseSystem {
  protected readonly programs = ['fuse-overlayfs'];
  #options = '';

  available(): string | undefined {
    return missingProgram('fuse-overlayfs', 'Debian: fuse-overlayfs') ?? fuseUnavailable();
  }

  override async prepare(): Promise<void> {
    this.#options = lowerOption(await lowerOf(this.tree, this.bench), this.bench);
  }

  protected arguments(): string[] {
    return ['-o', this.#options, this.mountpoint];
  }
}

export const OVERLAYFS: SystemRow = {
  name: 'overlayfs',
  description: 'overlayfs, read-only, the directory as its only layer with content',
  byDefault: true,
  create: (tree, bench) => new Overlayfs('overlayfs', tree, bench),
};

export const FUSE_OVERLAYFS: SystemRow = {
  name: 'fuse-overlayfs',
  description: 'the same layers, served by fuse-overlayfs',
  byDefault: true,
  create: (tree, bench) => new FuseOverlayfs('fuse-overlayfs', tree, bench),
};
