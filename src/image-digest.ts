/** What names an image file exactly: its image id, or its fs-verity digest. Pure. */
import { CfsError } from './error.ts';

/** Begins an fs-verity digest where an image id could stand: SHA-256, blocks of 4096 bytes, no salt. */
export const FSVERITY_PREFIX = 'fsverity-sha256:';

export interface ImageDigest {
  readonly kind: 'id' | 'fsverity';
  /** 64 lower-case hexadecimal digits. */
  readonly hex: string;
}

/**
 * Reads an image id (64 hexadecimal digits) or "fsverity-sha256:" and as many, in either case.
 * @throws CfsError (usage)
 */
export function parseImageDigest(text: string): ImageDigest {
  const lower = text.toLowerCase();
  const isFsVerity = lower.startsWith(FSVERITY_PREFIX);
  const hex = isFsVerity ? lower.slice(FSVERITY_PREFIX.length) : lower;
  if (/^[0-9a-f]{64}$/.test(hex)) return { kind: isFsVerity ? 'fsverity' : 'id', hex };
  throw new CfsError(
    'usage',
    `"${text}" names no image: an id is 64 hexadecimal digits, as 'cfs-info id' shows, and an fs-verity digest is ${FSVERITY_PREFIX} and as many, as 'cfs-info id --fsverity' does`,
  );
}

/** As `parseImageDigest` reads it. */
export const formatImageDigest = ({ kind, hex }: ImageDigest): string =>
  kind === 'id' ? hex : `${FSVERITY_PREFIX}${hex}`;
