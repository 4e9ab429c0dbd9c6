/** `verify=fsverity`: reports requirements that can never be met when the mount is made, not at each open. */
import { join } from 'node:path';
import type { HashAlgorithm } from '../base/digest.ts';
import { CfsError } from '../base/error.ts';
import { mayHaveVerity } from '../system/fsverity.ts';

/** The image and repositories of the mount. */
export interface VerityMount {
  readonly image: string;
  /** The algorithm that names the image's objects. */
  readonly hash: HashAlgorithm;
  /** Directories of the repositories; empty if the image needs none. */
  readonly repositories: readonly string[];
}

/**
 * @param mayHave whether the file system of a directory may have fs-verity
 * @throws CfsError: `image` if the digests of the image are not of fs-verity, `store` if no repository can have sealed
 *   objects
 */
export function requireVerity(
  { image, hash, repositories }: VerityMount,
  mayHave: (directory: string) => boolean = mayHaveVerity,
): void {
  if (repositories.length === 0) return;
  if (hash !== 'fsverity-sha256') {
    throw new CfsError(
      'image',
      `Cannot mount ${image} with verify=fsverity: it names its objects by ${hash}, and the kernel knows no such digests`,
      { hint: 'Pack it with `hash` fsverity-sha256, or mount it with verify=auto, which hashes.' },
    );
  }
  if (repositories.some((path) => mayHave(join(path, 'objects')))) return;
  throw new CfsError(
    'store',
    `Cannot mount ${image} with verify=fsverity: ${repositories.join(', ')}: the file system has no fs-verity`,
    {
      hint: "Take verify=auto, which hashes, or put the repository on ext4, f2fs or btrfs that has it ('tune2fs -O verity' for ext4).",
    },
  );
}
