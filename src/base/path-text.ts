/**
 * Paths as exact text. Paths are bytes, and JavaScript strings cannot hold all of them: node replaces bytes that are
 * not UTF-8 by U+FFFD, which then names another file. Here each byte that is not part of UTF-8 is one lone surrogate,
 * U+DC80 to U+DCFF, as in Python (PEP 383). So different paths are different texts, and every path can be converted
 * back. Pure.
 *
 * Such text passes through JSON, messages to threads and node:path unharmed. system/exact-paths.ts makes node:fs accept
 * it.
 */
import { isUtf8 } from 'node:buffer';

const ESCAPE = /[\udc80-\udcff]/u;
const EACH_ESCAPE = /([\udc80-\udcff])/u;
const ALL_ESCAPES = /[\udc80-\udcff]/gu;
const ESCAPE_BASE = 0xdc00;

/** Whether this text contains bytes that are not UTF-8. */
export const hasEscapes = (text: string): boolean => ESCAPE.test(text);

/** The bytes of a text made by `pathText`; UTF-8 for any other text. */
export function pathBytes(text: string): Buffer {
  if (!hasEscapes(text)) return Buffer.from(text);
  return Buffer.concat(
    text.split(EACH_ESCAPE).map((part) => (ESCAPE.test(part) ? escapedByte(part) : Buffer.from(part))),
  );
}

const escapedByte = (escaped: string): Buffer => Buffer.of(escaped.charCodeAt(0) - ESCAPE_BASE);

/** Converts any bytes to text, one-to-one. */
export function pathText(path: Uint8Array): string {
  const bytes = Buffer.from(path.buffer, path.byteOffset, path.length);
  if (isUtf8(bytes)) return bytes.toString();
  let text = '';
  let begin = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at);
    if (length === 0) {
      text += bytes.toString('utf8', begin, at) + String.fromCharCode(ESCAPE_BASE + (bytes[at] as number));
      begin = at + 1;
    }
    at += Math.max(length, 1);
  }
  return text + bytes.toString('utf8', begin);
}

/** Bytes of the character at `at`; 0 if there is none. */
function characterLength(bytes: Buffer, at: number): number {
  const first = bytes[at] as number;
  const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const character = bytes.subarray(at, at + length);
  return character.length === length && isUtf8(character) ? length : 0;
}

/** The same text for a person to read: `\xHH` for each byte that is not UTF-8. */
export const shownText = (text: string): string =>
  hasEscapes(text) ? text.replace(ALL_ESCAPES, (escaped) => `\\x${escapedByte(escaped).toString('hex')}`) : text;
