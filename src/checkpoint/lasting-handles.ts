/** Checks that handles of a mount refer to the same files in the next one. */
import { CfsError } from '../base/error.ts';
import type { MountRecord } from '../mount-info/mount-record.ts';

/**
 * libfuse numbers inodes in the order of access: in the next mount the same handle is another file's.
 * @param path identifies the mount in the message
 * @throws CfsError (usage) if its driver is fuse-native
 */
export function requireLastingHandles(path: string, { options }: MountRecord): void {
  if (!Buffer.from(options).toString().split(',').includes('driver=fuse-native')) return;
  throw new CfsError(
    'usage',
    `Cannot use the mount at ${path} with checkpoints: handles of driver=fuse-native end with the mount. Mount it with driver=kernel.`,
  );
}
