/** Images as a remote repository stores them. */
import { toHex } from '../base/bytes.ts';
import { CfsError } from '../base/error.ts';
import { type ImageParts, splitImage } from '../image/image-parts.ts';
import { expand } from '../remote/remote-files.ts';

/**
 * The image file, and its parts.
 * @param id 64 hexadecimal digits, which the image must have
 * @throws CfsError: `store` if it is damaged, or another image; as `splitImage`
 */
export function storedImage(
  id: string,
  stored: Uint8Array,
): { readonly bytes: Uint8Array; readonly parts: ImageParts } {
  const bytes = expand(stored);
  if (bytes === undefined) throw new CfsError('store', 'it is damaged');
  const parts = splitImage(bytes);
  if (toHex(parts.digest) !== id) throw new CfsError('store', `it is image ${toHex(parts.digest)}`);
  return { bytes, parts };
}
