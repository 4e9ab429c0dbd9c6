/**
 * The method of composefs, without its tools: an EROFS image of metadata, overlayfs with metacopy over it, and contents
 * from a data-only layer, which is the store of cfs. It differs from mkcomposefs and mount.composefs: the image is laid
 * out by mkfs.erofs, objects are named by BLAKE3, and nothing verifies them. Documentation/filesystems/overlayfs.rst,
 * "Data-only lower layers", describes the kernel's part.
 */
import { release } from 'node:os';
import { join } from 'node:path';
import { cfsUnavailable } from './cfs-daemon.ts';
import type { SystemRow } from './contract.ts';
import { writeMetacopyTree } from './metacopy-tree.ts';
import { fileSystemUnavailable, mountKernel, unmount } from './mounts.ts';
import { missingProgram, run, toolCommand } from './process.ts';
import { cfsImageOf, cfsStoreOf } from './system-cfs.ts';
import { erofsUnavailable, mountErofs } from './system-erofs.ts';
import { MountedSystem } from './system-mounted.ts';

/** Linux 6.5 brought data-only layers. */
const KERNEL = [6, 5] as const;

class ErofsMetacopy extends MountedSystem {
  #image = '';

  /** The path at which the EROFS image is mounted, under the overlayfs. */
  get #metadata(): string {
    return this.bench.scratch.directory(`mnt-${this.name}-metadata-${this.tree.name}`);
  }

  available(): string | undefined {
    const [major = 0, minor = 0] = release().split('.').map(Number);
    if (major < KERNEL[0] || (major === KERNEL[0] && minor < KERNEL[1])) {
      return `Linux ${release()} has no data-only layers of overlayfs; ${KERNEL.join('.')} has`;
    }
    return (
      erofsUnavailable() ??
      fileSystemUnavailable('overlay') ??
      cfsUnavailable() ??
      missingProgram('setfattr', 'Debian: attr')
    );
  }

  override async prepare(): Promise<void> {
    this.#image = await this.bench.once(`erofs metadata image ${this.tree.name}`, () => this.#pack());
  }

  async #pack(): Promise<string> {
    const cfsImage = await cfsImageOf(this.tree, this.bench);
    this.bench.progress(`making an EROFS image of the metadata of ${this.tree.path}`);
    const dump = await run(toolCommand('cfs-info', 'dump', cfsImage), this.bench.signal, 'collect');
    const directory = join(this.tree.work, `${this.tree.name}.metadata`);
    await writeMetacopyTree(this.tree.path, dump.stdout.toString('latin1'), directory, this.bench);
    const image = `${directory}.erofs`;
    // with chunks the zeros of all files are stored once: mkfs.erofs 1.5 does not leave out holes
    await run(['mkfs.erofs', '--quiet', '--chunksize=4096', image, directory], this.bench.signal);
    return image;
  }

  protected async mount(): Promise<void> {
    await mountErofs(this.#image, this.#metadata, this.bench);
    const lower = `lowerdir=${this.#metadata}::${join(cfsStoreOf(this.tree), 'objects')}`;
    mountKernel('overlay', 'overlay', this.mountpoint, `metacopy=on,redirect_dir=on,${lower}`);
  }

  override async stop(): Promise<void> {
    await unmount(this.mountpoint);
    await unmount(this.#metadata);
  }
}

export const EROFS_METACOPY: SystemRow = {
  name: 'erofs-metacopy',
  description: 'EROFS image of metadata, overlayfs over it, contents from the store of cfs (as composefs does it)',
  byDefault: true,
  create: (tree, bench) => new ErofsMetacopy('erofs-metacopy', tree, bench),
};
