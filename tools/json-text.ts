/** What JSON cannot say plainly. Bytes: as text where they are UTF-8; else as `printable` shows them, with the exact bytes in Base64 beside. */
import { exactUtf8, printable } from '../src/base/bytes.ts';

export interface JsonText {
  readonly text: string;
  /** The exact bytes, where `text` is not. */
  readonly base64: string | undefined;
}

export function jsonText(bytes: Uint8Array): JsonText {
  const text = exactUtf8(bytes);
  if (text !== undefined) return { text, base64: undefined };
  return { text: printable(bytes), base64: Buffer.from(bytes).toString('base64') };
}

/** What a message says of the version in a list that may hold anything there. */
export const versionText = (version: unknown): string =>
  typeof version === 'number' ? `version ${version}` : 'no version number';
