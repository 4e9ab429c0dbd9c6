/** Whether handles of a mount mean the same files in the next one. */
import { CfsError } from '../base/error.ts';
import type { MountRecord } from '../mount-info/mount-record.ts';

/**
 * libfuse counts the inodes that it was asked for: in the next mount the same handle is another file's.
 * @param path names the mount in the message
 * @throws CfsError (usage) where its driver is fuse-native
 */
export function requireLastingHandles(path: string, { options }: MountRecord): void {
  if (!Buffer.from(options).toString().split(',').includes('driver=fuse-native')) return;
  throw new CfsError(
    'usage',
    `Cannot use the mount at ${path} with checkpoints: handles of driver=fuse-native end with the mount. Mount it with driver=kernel.`,
  );
}
