/** A mount that answers. */
import type { ImageSignature } from '../image/image-signature.ts';
import type { VerifyMode } from '../objects/repository.ts';
import type { ObjectSample } from './object-sample.ts';
import type { Driver } from './options.ts';
import type { OtherImage } from './other-images.ts';
import type { ParkedFilesOfMount } from './parked-mount.ts';

export interface MountedImage {
  readonly id: string;
  readonly image: string;
  readonly mountpoint: string;
  readonly driver: Driver;
  readonly verify: VerifyMode;
  /** Paths of repositories whose objects are verified block by block although `verify` says `auto` or `open`. */
  readonly readByBlocks: readonly string[];
  /** The kernel reads objects by itself, in their own page cache. */
  readonly passthrough: boolean;
  readonly inodes: number;
  readonly objects: number;
  /** Whether its objects are there; undefined if that was not known in time, and in a server that took over. */
  readonly sample?: ObjectSample | undefined;
  /** Other images that repositories have registered at its path; undefined in a server that took over. */
  readonly otherImages?: readonly OtherImage[];
  /**
   * The signature that was verified when the mount was made; undefined if none was required, and in a server that took
   * over.
   */
  readonly signature: ImageSignature | undefined;
  /** The files that another process needs to continue serving; undefined if none could. */
  readonly parked: ParkedFilesOfMount | undefined;
  /** To be called with the second end of the socket in which the mount was parked. */
  readonly tellParked?: (end: number) => void;
  /** Called when the leases' lists are written. */
  readonly tellWritten?: () => void;
  /** Unmounts; processes that use the mount keep it until they are done. */
  unmount(): Promise<void>;
  /** Resolves at the first sign that the mount has ended, before `ended`. Nothing of its files is open any more. */
  readonly ending: Promise<void>;
  /** Resolves when the mount has ended, by `unmount` or by umount(8), and nothing is left of it. */
  readonly ended: Promise<void>;
}

/** The description of a mount, as `cfs-mount --json` prints it. */
export type MountSummary = Omit<
  MountedImage,
  'unmount' | 'tellParked' | 'tellWritten' | 'ending' | 'ended' | 'parked'
> & { readonly pid: number };

export function summaryOf(mounted: MountedImage): MountSummary {
  const {
    unmount: _unmount,
    tellParked: _tellParked,
    tellWritten: _tellWritten,
    ending: _ending,
    ended: _ended,
    parked: _parked,
    ...summary
  } = mounted;
  return { ...summary, pid: process.pid };
}
