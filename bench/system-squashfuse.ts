/** SquashFS through FUSE: the directory in a compressed image, as mksquashfs makes it by default. */
import { join } from 'node:path';
import type { SystemRow } from './contract.ts';
import { fuseUnavailable } from './fuse-daemon.ts';
import { findProgram, missingProgram, run } from './process.ts';
import { ForeignFuseSystem } from './system-mounted.ts';

class Squashfuse extends ForeignFuseSystem {
  /** The first one translates inodes, the second one paths, which is slower. */
  protected readonly programs = ['squashfuse_ll', 'squashfuse'];
  #image = '';

  available(): string | undefined {
    if (findProgram(...this.programs) === undefined) return 'squashfuse is not installed (Debian: squashfuse)';
    return missingProgram('mksquashfs', 'Debian: squashfs-tools') ?? fuseUnavailable();
  }

  override async prepare(): Promise<void> {
    this.#image = await this.bench.once(`squashfs image ${this.tree.name}`, async () => {
      this.bench.progress(`packing ${this.tree.path} with mksquashfs`);
      const image = join(this.tree.work, `${this.tree.name}.squashfs`);
      await run(['mksquashfs', this.tree.path, image, '-no-progress', '-quiet', '-noappend'], this.bench.signal);
      return image;
    });
  }

  protected arguments(): string[] {
    return [this.#image, this.mountpoint];
  }
}

export const SQUASHFUSE: SystemRow = {
  name: 'squashfuse',
  description: 'the directory in a SquashFS image (gzip, as mksquashfs makes it), served by squashfuse_ll',
  byDefault: true,
  create: (tree, bench) => new Squashfuse('squashfuse', tree, bench),
};
