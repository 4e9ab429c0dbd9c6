/** UUIDs of file systems as text. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseUuid, uuidText } from '../../../src/system/file-system-uuid.ts';

describe('parseUuid()', () => {
  it('reads the output of uuidText(), in either case', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (uuid) => {
        expect(parseUuid(uuidText(uuid))).toEqual(uuid);
        expect(parseUuid(uuidText(uuid).toUpperCase())).toEqual(uuid);
      }),
    );
    expect(uuidText(Uint8Array.from({ length: 16 }, (_, i) => i))).toBe('00010203-0405-0607-0809-0a0b0c0d0e0f');
  });

  it.each([
    '',
    '0001',
    '1234-ABCD',
    '00010203-0405-0607-0809-0a0b0c0d0e0',
    '00010203-0405-0607-0809-0a0b0c0d0e0f ',
    '00010203040506070809-0a0b0c0d0e0f',
    '0001020g-0405-0607-0809-0a0b0c0d0e0f',
  ])('is undefined for "%s"', (text) => {
    expect(parseUuid(text)).toBeUndefined();
  });
});
