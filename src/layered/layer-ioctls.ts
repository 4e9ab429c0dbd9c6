/** Requests of ioctl(2) about the layer as a whole. */
import type { Errno } from '../base/errno.ts';
import type { Caller } from '../fs/caller.ts';
import { checkpointIoctl, isCheckpointCommand } from './checkpoint-ioctls.ts';
import type { Layer } from './layer.ts';
import { privateIoctl } from './private-answers.ts';

/**
 * Answers an ioctl(2), as `Filesystem.ioctl`, on any file of the mount; undefined for another command. Called without
 * the lock.
 */
export type LayerIoctls = (
  layer: Layer,
  command: number,
  input: Uint8Array,
  room: number,
  caller: Caller,
) => Uint8Array | Errno | undefined;

/** As `Filesystem.ioctl`. @param ioctls those that the mount answers about the layer as a whole */
export function layerIoctl(
  layer: Layer,
  ioctls: LayerIoctls | undefined,
  ino: number,
  command: number,
  input: Uint8Array,
  room: number,
  caller: Caller | undefined,
): Uint8Array | Errno {
  if (isCheckpointCommand(command)) return checkpointIoctl(layer, ino, command, input, room, caller?.pid ?? 0);
  const answer = caller && ioctls?.(layer, command, input, room, caller);
  return answer ?? privateIoctl(layer, ino, command, input, room, caller);
}
