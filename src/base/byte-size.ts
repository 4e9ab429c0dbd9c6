/** Sizes that people write: `500M`. Pure. */

const SIZE = /^([1-9]\d{0,15})([KMGT]?)$/;

/**
 * Bytes, from a whole number with K, M, G or T for powers of 1024, or without; undefined if it is something else, or
 * above 2^53.
 */
export function parseByteSize(text: string): number | undefined {
  const [, digits, unit = ''] = SIZE.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const bytes = Number(digits) * 1024 ** ' KMGT'.indexOf(unit || ' ');
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Bytes, or a part of a disk. */
export type DiskPart = { readonly bytes: number } | { readonly percent: number };

/** As `parseByteSize`; or a whole number from 1 to 99 with %. */
export function parseDiskPart(text: string): DiskPart | undefined {
  const [, percent] = /^([1-9]\d?)%$/.exec(text) ?? [];
  if (percent !== undefined) return { percent: Number(percent) };
  const bytes = parseByteSize(text);
  return bytes === undefined ? undefined : { bytes };
}

/** Text from which `parseDiskPart` reads the same. */
export const formatDiskPart = (part: DiskPart): string => ('bytes' in part ? `${part.bytes}` : `${part.percent}%`);
