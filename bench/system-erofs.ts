/** EROFS alone: the directory in an image that the kernel mounts. */
import { join } from 'node:path';
import { errnoName, isErrno } from '../src/base/errno.ts';
import { CfsError, reasonOf } from '../src/base/error.ts';
import { MS_RDONLY, mount } from '../src/system/mount-calls.ts';
import type { Bench, SystemRow } from './contract.ts';
import { fileSystemUnavailable } from './mounts.ts';
import { missingProgram, run } from './process.ts';
import { MountedSystem } from './system-mounted.ts';

export const erofsUnavailable = (): string | undefined =>
  fileSystemUnavailable('erofs') ?? missingProgram('mkfs.erofs', 'Debian: erofs-utils');

/** Mounts an EROFS image: the file itself if the kernel can (Linux 6.12), else through a loop device. */
export async function mountErofs(image: string, mountpoint: string, bench: Bench): Promise<void> {
  const direct = mount(image, mountpoint, 'erofs', MS_RDONLY, '');
  if (!isErrno(direct)) return;
  try {
    await run(['mount', '-t', 'erofs', '-o', 'ro,loop', image, mountpoint], bench.signal);
  } catch (error) {
    bench.signal.throwIfAborted();
    throw new CfsError(
      'system',
      `Cannot mount ${image}: as a file ${errnoName(direct)}, with a loop device ${reasonOf(error)}`,
    );
  }
}

class Erofs extends MountedSystem {
  #image = '';

  available(): string | undefined {
    return erofsUnavailable();
  }

  override async prepare(): Promise<void> {
    this.#image = await this.bench.once(`erofs image ${this.tree.name}`, async () => {
      this.bench.progress(`packing ${this.tree.path} with mkfs.erofs`);
      const image = join(this.tree.work, `${this.tree.name}.erofs`);
      await run(['mkfs.erofs', '--quiet', image, this.tree.path], this.bench.signal);
      return image;
    });
  }

  protected mount(): Promise<void> {
    return mountErofs(this.#image, this.mountpoint, this.bench);
  }
}

export const EROFS: SystemRow = {
  name: 'erofs',
  description: 'the directory in an EROFS image (not compressed, as mkfs.erofs makes it), in the kernel',
  byDefault: true,
  create: (tree, bench) => new Erofs('erofs', tree, bench),
};
