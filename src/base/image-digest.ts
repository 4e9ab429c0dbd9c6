/** What names an image file exactly: its image id, or its fs-verity digest. Pure. */
/** Begins an fs-verity digest where an image id could stand: SHA-256, blocks of 4096 bytes, no salt. */
export const FSVERITY_PREFIX = 'fsverity-sha256:';

export interface ImageDigest {
  readonly kind: 'id' | 'fsverity';
  /** 64 lower-case hexadecimal digits. */
  readonly hex: string;
}

/** Reads an image id (64 hexadecimal digits) or "fsverity-sha256:" and as many, in either case; undefined where it is neither. */
export function parseImageDigest(text: string): ImageDigest | undefined {
  const lower = text.toLowerCase();
  const isFsVerity = lower.startsWith(FSVERITY_PREFIX);
  const hex = isFsVerity ? lower.slice(FSVERITY_PREFIX.length) : lower;
  return /^[0-9a-f]{64}$/.test(hex) ? { kind: isFsVerity ? 'fsverity' : 'id', hex } : undefined;
}

/** As `parseImageDigest` reads it. */
export const formatImageDigest = ({ kind, hex }: ImageDigest): string =>
  kind === 'id' ? hex : `${FSVERITY_PREFIX}${hex}`;
