/** The possible differences between two inodes, as words and as bits. */

/**
 * The possible differences, in output order.
 * - type: a directory became a file, and so on; the content is then not compared
 * - content: the bytes of a regular file, the target of a symbolic link, the number of a device
 * - mode: the 12 permission bits
 * - owner: uid or gid
 * - mtime: seconds or nanoseconds
 * - xattrs: names or values, including ACLs
 * - links: the set of names of the inode, for all but directories
 */
export const ASPECTS = ['type', 'content', 'mode', 'owner', 'mtime', 'xattrs', 'links'] as const;

export type Aspect = (typeof ASPECTS)[number];

/** Aspects as bits of a number. */
export const TYPE = 1;
export const CONTENT = 2;
export const MODE = 4;
export const OWNER = 8;
export const MTIME = 16;
export const XATTRS = 32;
export const LINKS = 64;

/** The aspects that are set in `bits`. */
export const aspectsOf = (bits: number): readonly Aspect[] => ASPECTS.filter((_, i) => (bits & (1 << i)) !== 0);

/**
 * Bits of `InodeComparison.compare` in addition to those of the aspects: one is a directory, or neither is and one has
 * several names.
 */
export const DIRECTORY = 128;
export const LINKED = 256;
export const ASPECT_BITS = 127;
