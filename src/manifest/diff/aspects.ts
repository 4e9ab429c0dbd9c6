/** What can differ between two inodes, as words and as bits. */

/**
 * What can differ, in the order in which it is told.
 * - type: a directory became a file, and so on; then nothing is said of the content
 * - content: of a regular file its bytes, of a symbolic link its target, of a device its number
 * - mode: the 12 permission bits
 * - owner: uid or gid
 * - mtime: seconds or nanoseconds
 * - xattrs: names or values, ACLs among them
 * - links: which names are this inode, for all but directories
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

/** Bits of `InodeComparison.compare` beside those of the aspects: one is a directory, or none is and one has several names. */
export const DIRECTORY = 128;
export const LINKED = 256;
export const ASPECT_BITS = 127;
