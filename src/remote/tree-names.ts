/** Names in the tree of a remote repository, relative to its URL. docs/remote.md specifies it. Pure. */
import { toHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';

export const META_NAME = 'meta.json';
export const objectFile = (digest: Uint8Array): string => {
  const hex = toHex(digest);
  return `objects/${hex.slice(0, 2)}/${hex.slice(2)}`;
};
export const packName = (digest: Uint8Array): string => `packs/${toHex(digest)}`;
export const mapName = (image: string): string => `maps/${image}.zst`;
export const imageName = (image: string): string => `images/${image}.zst`;
export const refName = (ref: string): string => `refs/${ref}`;

export const REF_LIMIT = 4096;

/** What a name in `refs` says. */
export interface Ref {
  /** The id of the image: 64 hexadecimal digits. */
  readonly image: string;
}

export const encodeRef = (ref: Ref): Uint8Array => Buffer.from(`${JSON.stringify(ref)}\n`);

/** @throws CfsError (store) */
export function decodeRef(bytes: Uint8Array): Ref {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    value = undefined;
  }
  const { image } = (value ?? {}) as { image?: unknown };
  if (typeof image === 'string' && /^[0-9a-f]{64}$/.test(image)) return { image };
  throw new CfsError('store', 'The name of the image is malformed: it names no image id');
}
