/** Exact names of an image file: its image id, or its fs-verity digest. Pure. */
/** The prefix of an fs-verity digest in place of an image id: SHA-256, blocks of 4096 bytes, no salt. */
export const FSVERITY_PREFIX = 'fsverity-sha256:';

export interface ImageDigest {
  readonly kind: 'id' | 'fsverity';
  /** 64 lower-case hexadecimal digits. */
  readonly hex: string;
}

/**
 * Parses an image id (64 hexadecimal digits) or "fsverity-sha256:" and 64 digits, in either case; undefined if it is
 * neither.
 */
export function parseImageDigest(text: string): ImageDigest | undefined {
  const lower = text.toLowerCase();
  const isFsVerity = lower.startsWith(FSVERITY_PREFIX);
  const hex = isFsVerity ? lower.slice(FSVERITY_PREFIX.length) : lower;
  return /^[0-9a-f]{64}$/.test(hex) ? { kind: isFsVerity ? 'fsverity' : 'id', hex } : undefined;
}

/** The inverse of `parseImageDigest`. */
export const formatImageDigest = ({ kind, hex }: ImageDigest): string =>
  kind === 'id' ? hex : `${FSVERITY_PREFIX}${hex}`;
