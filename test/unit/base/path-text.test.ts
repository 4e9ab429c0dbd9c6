import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { hasEscapes, pathBytes, pathText, shownText } from '../../../src/base/path-text.ts';

test.each([
  ['caf\xe9', 'caf\udce9', 'caf\\xe9'],
  ['\xff\xfe', '\udcff\udcfe', '\\xff\\xfe'],
  // cut off, too long, a surrogate, beyond the last character
  ['a\xe2\x82', 'a\udce2\udc82', 'a\\xe2\\x82'],
  ['\xc0\xaf', '\udcc0\udcaf', '\\xc0\\xaf'],
  ['\xed\xb3\xa9', '\udced\udcb3\udca9', '\\xed\\xb3\\xa9'],
  ['\xf4\x90\x80\x80', '\udcf4\udc90\udc80\udc80', '\\xf4\\x90\\x80\\x80'],
  // the valid UTF-8 beside it stays
  ['\xc3\xa9/\xe9\xc3\xa9', 'é/\udce9é', 'é/\\xe9é'],
])('bytes that are not UTF-8: %j', (latin1, text, shown) => {
  const bytes = Buffer.from(latin1, 'latin1');
  expect(pathText(bytes)).toBe(text);
  expect(pathBytes(text)).toEqual(bytes);
  expect(hasEscapes(text)).toBe(true);
  expect(shownText(text)).toBe(shown);
});

test.each(['', '/srv/store', 'é', '\ufeffmark', '\ufffd', '\u{1f480}\u{1f4e9}', 'line\nfeed'])(
  'UTF-8 is unchanged: %j',
  (text) => {
    expect(pathText(Buffer.from(text))).toBe(text);
    expect(pathBytes(text)).toEqual(Buffer.from(text));
    expect(hasEscapes(text)).toBe(false);
    expect(shownText(text)).toBe(text);
  },
);

test('all byte strings round-trip, also through JSON, and no two have the same text', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 30 }), fc.uint8Array({ maxLength: 30 }), (one, other) => {
      const text = pathText(one);
      expect(pathBytes(JSON.parse(JSON.stringify(text)) as string)).toEqual(Buffer.from(one));
      expect(text === pathText(other)).toBe(Buffer.from(one).equals(other));
    }),
  );
});
