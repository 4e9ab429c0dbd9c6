/**
 * Values that JSON cannot represent directly. Bytes: as text if they are UTF-8; else as `printable` shows them, with
 * the exact bytes in Base64 beside it.
 */
import { exactUtf8, printable } from './bytes.ts';
import { hasEscapes, pathBytes, shownText } from './path-text.ts';

export interface JsonText {
  readonly text: string;
  /** The exact bytes, if `text` is not exact. */
  readonly base64: string | undefined;
}

export function jsonText(bytes: Uint8Array): JsonText {
  const text = exactUtf8(bytes);
  if (text !== undefined) return { text, base64: undefined };
  return { text: printable(bytes), base64: Buffer.from(bytes).toString('base64') };
}

/** Describes the version in a list, which may be any value, for a message. */
export const versionText = (version: unknown): string =>
  typeof version === 'number' ? `version ${version}` : 'no version number';

/**
 * A value as JSON. Text that base/path-text.ts made from bytes that are not UTF-8 is shown as `printable` would, with a
 * key that ends in "Base64" beside it; if some elements of a list are such text, that key has a list of all of them.
 */
export function jsonOf(value: unknown): string {
  const json = JSON.stringify(value);
  // how JSON.stringify writes a lone surrogate; text with a backslash before it is converted in vain
  return json?.includes('\\udc') ? JSON.stringify(withBase64(value)) : json;
}

function withBase64(value: unknown): unknown {
  if (typeof value === 'string') return shownText(value);
  if (Array.isArray(value)) return value.map(withBase64);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]) => {
      const exact = base64Of(item);
      return exact === undefined
        ? [[key, withBase64(item)]]
        : [
            [key, withBase64(item)],
            [`${key}Base64`, exact],
          ];
    }),
  );
}

/** Undefined if the text is exact. */
function base64Of(item: unknown): string | string[] | undefined {
  const base64 = (text: string): string => pathBytes(text).toString('base64');
  if (typeof item === 'string') return hasEscapes(item) ? base64(item) : undefined;
  if (!Array.isArray(item) || !item.every((element) => typeof element === 'string')) return undefined;
  return item.some(hasEscapes) ? item.map(base64) : undefined;
}
