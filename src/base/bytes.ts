/** Byte strings: file names and paths are bytes, not text. */

const hexOf: readonly string[] = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

/** Lower-case hexadecimal of `bytes`. */
export function toHex(bytes: Uint8Array): string {
  let out = '';
  for (let i = 0; i < bytes.length; i++) out += hexOf[bytes[i] as number];
  return out;
}

const HEX_DIGITS = Buffer.from('0123456789abcdef');

/** Writes bytes `from` to `to` of `bytes` into `out` at `at`, as lower-case hexadecimal digits. */
export function writeHex(out: Uint8Array, at: number, bytes: Uint8Array, from: number, to: number): void {
  let end = at;
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number;
    out[end++] = HEX_DIGITS[byte >>> 4] as number;
    out[end++] = HEX_DIGITS[byte & 15] as number;
  }
}

/** The bytes of an even-length hexadecimal string. Throws on anything else. */
export function fromHex(hex: string): Uint8Array {
  if (!/^(?:[0-9a-fA-F]{2})*$/.test(hex)) throw new Error(`"${hex}" is not hexadecimal`);
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** memcmp order: negative, 0 or positive. A prefix sorts first. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    const d = (a[i] as number) - (b[i] as number);
    if (d !== 0) return d;
  }
  return a.length - b.length;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compareBytes(a, b) === 0;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * A name or path for people: printable UTF-8 is unchanged, and every other byte becomes `\xHH`, so that no name can
 * move the cursor or break a log line in two.
 */
export function printable(bytes: Uint8Array): string {
  try {
    const text = strictUtf8.decode(bytes);
    if (!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/u.test(text)) return text;
  } catch {
    // not UTF-8: escape byte by byte
  }
  let out = '';
  for (const byte of bytes) {
    if (byte === 0x5c) out += '\\\\';
    else if (byte >= 0x20 && byte < 0x7f) out += String.fromCharCode(byte);
    else out += `\\x${hexOf[byte]}`;
  }
  return out;
}

/**
 * Text for one line of a terminal or a log: `\xHH` for each byte that moves the cursor, breaks the line or changes the
 * direction of writing. The output of `printable` is unchanged.
 */
export const oneLine = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) =>
    Array.from(Buffer.from(c), (byte) => `\\x${hexOf[byte]}`).join(''),
  );

/** Text that decodes back to exactly these bytes as UTF-8, or undefined if there is none. */
export function exactUtf8(bytes: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Concatenation of byte strings. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

/** Bytes as text, one character each: a key for a Map. */
export const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
