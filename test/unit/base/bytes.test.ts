import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareBytes,
  concatBytes,
  equalBytes,
  exactUtf8,
  fromHex,
  oneLine,
  printable,
  toHex,
  writeHex,
} from '../../../src/base/bytes.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const anyBytes = fc.uint8Array({ maxLength: 40 });

describe('writeHex()', () => {
  it('writes a part of the bytes, and leaves the rest of the buffer', () => {
    const out = Buffer.from('..........');
    writeHex(out, 2, Uint8Array.of(0xff, 0x00, 0x1a, 0xb2), 1, 4);
    expect(out.toString()).toBe('..001ab2..');
  });
});

describe('toHex() and fromHex()', () => {
  it('are inverse to each other', () => {
    fc.assert(
      fc.property(anyBytes, (value) => {
        expect(toHex(value)).toBe(Buffer.from(value).toString('hex'));
        expect(fromHex(toHex(value))).toEqual(value);
        expect(fromHex(toHex(value).toUpperCase())).toEqual(value);
      }),
    );
  });

  it('refuse text that is not hexadecimal', () => {
    for (const text of ['0', 'abc', 'zz', '0x', ' 00', '00\n', '00 11']) {
      expect(() => fromHex(text)).toThrow('is not hexadecimal');
    }
  });
});

describe('compareBytes()', () => {
  it('orders like memcmp, with a prefix first', () => {
    fc.assert(
      fc.property(anyBytes, anyBytes, (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b));
        expect(equalBytes(a, b)).toBe(Buffer.compare(a, b) === 0);
        expect(equalBytes(a, Uint8Array.from(a))).toBe(true);
      }),
    );
    expect(compareBytes(bytes('a'), bytes('ab'))).toBeLessThan(0);
    expect(compareBytes(bytes('\xff'), bytes('a'))).toBeGreaterThan(0);
    expect(compareBytes(bytes(''), bytes(''))).toBe(0);
  });

  it('orders UTF-8 by code points, unlike UTF-16', () => {
    expect(compareBytes(Buffer.from('\uff5e'), Buffer.from('\u{1f600}'))).toBeLessThan(0);
    expect('\uff5e' < '\u{1f600}').toBe(false);
  });
});

describe('concatBytes()', () => {
  it('joins any number of byte strings', () => {
    fc.assert(
      fc.property(fc.array(anyBytes), (parts) => {
        expect(toHex(concatBytes(...parts))).toBe(Buffer.concat(parts).toString('hex'));
      }),
    );
  });
});

describe('exactUtf8()', () => {
  it('returns text only if the text decodes to the same bytes', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          anyBytes,
          fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
        ),
        (value) => {
          const text = exactUtf8(value);
          const back = Buffer.from(Buffer.from(value).toString());
          expect(text !== undefined).toBe(back.equals(value));
          if (text !== undefined) expect(Buffer.from(text).equals(value)).toBe(true);
        },
      ),
    );
  });

  it('keeps a byte order mark', () => {
    expect(exactUtf8(Buffer.from('\ufeffa'))).toBe('\ufeffa');
  });
});

describe('printable()', () => {
  it('does not change printable text', () => {
    for (const text of ['', 'a', 'plain name', 'ünïcödé', '日本語', '😀', 'it\'s "quoted" $x']) {
      expect(printable(Buffer.from(text))).toBe(text);
    }
  });

  it('escapes every other byte, and the backslash if there is one', () => {
    const cases: [string | Uint8Array, string][] = [
      ['a\nb', 'a\\x0ab'],
      ['\x1b[31m', '\\x1b[31m'],
      ['back\\slash', 'back\\\\slash'],
      ['\x7f', '\\x7f'],
      ['\u202eevil', '\\xe2\\x80\\xaeevil'],
      ['\ufeff', '\\xef\\xbb\\xbf'],
      ['line\u2028separator', 'line\\xe2\\x80\\xa8separator'],
      ['\x85', '\\xc2\\x85'],
      [bytes('caf\xe9'), 'caf\\xe9'],
      [bytes('\0'), '\\x00'],
    ];
    for (const [value, text] of cases) expect(printable(Buffer.from(value as string))).toBe(text);
  });

  it('never returns the same text for two byte strings, and never a control character', () => {
    const decode = (text: string): Buffer => {
      if (!text.includes('\\')) return Buffer.from(text);
      const latin1 = text.replace(/\\(?:\\|x([0-9a-f]{2}))/g, (_, hex: string | undefined) =>
        hex === undefined ? '\\' : String.fromCharCode(Number.parseInt(hex, 16)),
      );
      return Buffer.from(latin1, 'latin1');
    };
    fc.assert(
      fc.property(
        fc.oneof(
          anyBytes,
          fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)),
        ),
        (value) => {
          const text = printable(value);
          expect(decode(text).equals(value)).toBe(true);
          expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('oneLine()', () => {
  it.each([
    ['a\tb\nc', 'a\\x09b\\x0ac'],
    ['\x1b]0;title\x07', '\\x1b]0;title\\x07'],
    ['\x9b31m', '\\xc2\\x9b31m'],
    ['\u202egpj.exe', '\\xe2\\x80\\xaegpj.exe'],
    ['a \\ b, käse', 'a \\ b, käse'],
  ])('shows %j in one line', (text, expected) => {
    expect(oneLine(text)).toBe(expected);
  });

  it('does not change the output of printable()', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(oneLine(printable(bytes))).toBe(printable(bytes));
      }),
    );
  });
});
