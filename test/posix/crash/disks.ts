/**
 * Disks that can be copied at one moment, as a power failure would leave them.
 *
 * A disk is a loop device with direct I/O on a file of an XFS. So the file has what the file system on the disk has
 * written, in the order of its writes, and nothing that is only in the page cache. A clone of the file
 * (cp --reflink, ioctl_ficlone(2)) is its state at one moment, between two writes: XFS lets a clone wait for the writes
 * under way, and further writes for the clone. What such a disk does not show: writes that a real one had in its cache,
 * and lost, although later ones were kept.
 */
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mountLoop, mountTmpfs, outputOf } from '../../e2e/cli.ts';
import type { Scratch } from '../../e2e/harness.ts';
import { succeed } from '../../e2e/run.ts';
import { unmountBy } from '../../e2e/system.ts';

export type DiskType = 'ext4' | 'xfs' | 'btrfs';

const MIB = 512;
/** XFS takes no direct I/O for less than a block of a file that has been cloned. */
const SECTOR = 4096;

const MKFS: Readonly<Record<DiskType, readonly string[]>> = {
  ext4: ['-F', '-E', 'nodiscard', '-m', '0'],
  xfs: ['-s', `size=${SECTOR}`],
  btrfs: [],
};

/** Makes a file system in memory that can clone files. Unmounted with the scratch directory. */
export async function mountCloning(scratch: Scratch): Promise<string> {
  const memory = await mountTmpfs(scratch.directory('memory'), '4g');
  return await mountLoop(join(memory, 'clones'), 'xfs', 3500, ['-m', 'reflink=1']);
}

/** A file that is mounted as a disk. */
export class Disk {
  /** The file. */
  readonly file: string;
  readonly type: DiskType;
  /** The directory at which it is mounted. */
  readonly at: string;

  private constructor(file: string, type: DiskType, at: string) {
    this.file = file;
    this.type = type;
    this.at = at;
  }

  /** Makes a file system in a new file, and mounts it. */
  static async make(scratch: Scratch, file: string, type: DiskType, options = ''): Promise<Disk> {
    writeFileSync(file, '');
    truncateSync(file, MIB << 20);
    await succeed([`mkfs.${type}`, '-q', ...MKFS[type], file]);
    return await Disk.attach(scratch, file, type, options);
  }

  /** Mounts a file as a disk. Nothing is left if that fails; else it ends with the mount. */
  static async attach(scratch: Scratch, file: string, type: DiskType, options = ''): Promise<Disk> {
    const at = scratch.directory('disk');
    const device = await outputOf('losetup', '--find', '--show', '--direct-io=on', `--sector-size=${SECTOR}`, file);
    try {
      const direct = await outputOf('losetup', '--list', '--noheadings', '--output', 'DIO', device);
      if (direct !== '1') throw new Error(`${device} has no direct I/O`);
      await succeed(['mount', '-t', type, ...(options === '' ? [] : ['-o', options]), device, at]);
    } finally {
      // a device in use is detached when it is unmounted
      await succeed(['losetup', '--detach', device]);
    }
    return new Disk(file, type, at);
  }

  /** Copies the disk, at one moment, to a new file. */
  async copyTo(file: string): Promise<void> {
    await succeed(['cp', '--reflink=always', this.file, file]);
  }

  async unmount(): Promise<void> {
    await unmountBy(['umount', this.at]);
  }
}
