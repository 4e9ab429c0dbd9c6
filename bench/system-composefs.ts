/** composefs itself, if its tools are installed: mkcomposefs(1) and mount.composefs(1). */
import { join } from 'node:path';
import type { SystemRow } from './contract.ts';
import { fileSystemUnavailable } from './mounts.ts';
import { missingProgram, run } from './process.ts';
import { MountedSystem } from './system-mounted.ts';

const PACKAGE = 'composefs, https://github.com/composefs/composefs; Debian 13: composefs';

export const composefsUnavailable = (): string | undefined =>
  fileSystemUnavailable('erofs') ??
  fileSystemUnavailable('overlay') ??
  missingProgram('mkcomposefs', PACKAGE) ??
  missingProgram('mount.composefs', PACKAGE);

class Composefs extends MountedSystem {
  #image = '';

  get #store(): string {
    return join(this.tree.work, 'composefs-store');
  }

  available(): string | undefined {
    return composefsUnavailable();
  }

  override async prepare(): Promise<void> {
    this.#image = await this.bench.once(`composefs image ${this.tree.name}`, async () => {
      this.bench.progress(`packing ${this.tree.path} with mkcomposefs`);
      const image = join(this.tree.work, `${this.tree.name}.composefs`);
      await run(['mkcomposefs', `--digest-store=${this.#store}`, this.tree.path, image], this.bench.signal);
      return image;
    });
  }

  protected async mount(): Promise<void> {
    const options = `basedir=${this.#store}`;
    await run(['mount.composefs', '-o', options, this.#image, this.mountpoint], this.bench.signal);
  }
}

export const COMPOSEFS: SystemRow = {
  name: 'composefs',
  description: 'composefs, made by mkcomposefs and mounted by mount.composefs, without fs-verity',
  byDefault: true,
  create: (tree, bench) => new Composefs('composefs', tree, bench),
};
