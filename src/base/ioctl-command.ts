/** Commands of ioctl(2) on files of a mount: `_IOWR(0xc6, nr, size)` of linux/ioctl.h. include/cfs.h has them for C. */

/** _IOC_READ | _IOC_WRITE */
const READ_WRITE = 3;
const TYPE = 0xc6;

/** The limit of the 14 bits for the size in a command; every structure is smaller. */
export const MAX_IOCTL_SIZE = 0x3fff;

/** The command with this number for a structure of `size` bytes. */
export const ioctlCommand = (nr: number, size: number): number =>
  ((READ_WRITE << 30) | (size << 16) | (TYPE << 8) | nr) >>> 0;

/** An answer for a caller's structure of `room` bytes; the rest of a larger one is zeros: the kernel would leave it. */
export function sizedAnswer(answer: Uint8Array, room: number): Uint8Array {
  if (answer.length >= room) return answer.subarray(0, room);
  const padded = new Uint8Array(Math.min(room, MAX_IOCTL_SIZE));
  padded.set(answer);
  return padded;
}

/**
 * The number of a command. Its size may differ from ours: a program compiled with an older header gets the beginning of
 * the structure, one with a newer header gets zeros after its end.
 * @returns -1 for a command of another type or direction
 */
export function commandNumber(request: number): number {
  return request >>> 30 === READ_WRITE && ((request >>> 8) & 0xff) === TYPE ? request & 0xff : -1;
}
