import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex } from '../../../src/base/bytes.ts';
import { EINVAL, EOPNOTSUPP, isErrno } from '../../../src/base/errno.ts';
import { encodeOrigin } from '../../../src/upper/overlay-format.ts';
import { indexName, isTemporaryName, OverlayXattrNames, parseIndexName } from '../../../src/upper/overlay-names.ts';

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
const textOf = (value: Uint8Array): string => Buffer.from(value).toString('latin1');

describe.each([
  { prefix: 'trusted.overlay.', other: 'user.overlay.', userxattr: false },
  { prefix: 'user.overlay.', other: 'trusted.overlay.', userxattr: true },
])('the xattrs of a layer with $prefix', ({ prefix, other, userxattr }) => {
  const layer = new OverlayXattrNames(userxattr);
  const stored = (name: string): string | number => {
    const escaped = layer.escape(bytes(name));
    return isErrno(escaped) ? escaped : textOf(escaped);
  };
  const shown = (name: string): string | undefined => {
    const unescaped = layer.unescape(bytes(name));
    return unescaped === undefined ? undefined : textOf(unescaped);
  };

  test('have names with the prefix', () => {
    expect(textOf(layer.names.opaque)).toBe(`${prefix}opaque`);
    expect(Object.values(layer.names).every((name) => layer.isOwn(name))).toBe(true);
  });

  test('are kept apart from those of users', () => {
    expect(stored(`${prefix}opaque`)).toBe(`${prefix}overlay.opaque`);
    expect(stored(`${prefix}overlay.opaque`)).toBe(`${prefix}overlay.overlay.opaque`);
    expect(stored(`${other}opaque`)).toBe(`${other}opaque`);
    expect(stored('user.x')).toBe('user.x');
    expect(shown(`${prefix}overlay.opaque`)).toBe(`${prefix}opaque`);
    expect(shown(`${prefix}overlay.overlay.opaque`)).toBe(`${prefix}overlay.opaque`);
    expect(shown(`${other}opaque`)).toBe(`${other}opaque`);
    for (const own of ['opaque', 'later', '', 'overlay', 'overlay.', 'overlayx']) {
      expect(shown(`${prefix}${own}`)).toBeUndefined();
      expect(layer.isOwn(bytes(`${prefix}${own}`))).toBe(true);
    }
  });

  test('refuse what Linux refuses', () => {
    expect(stored(prefix)).toBe(EINVAL);
    expect(stored(prefix.slice(0, -1))).toBe(prefix.slice(0, -1));
    const room = 255 - prefix.length - 'overlay.'.length;
    expect(stored(`${prefix}${'n'.repeat(room)}`)).toHaveLength(255);
    expect(stored(`${prefix}${'n'.repeat(room + 1)}`)).toBe(EOPNOTSUPP);
  });

  test('never collide with those of users, whatever their names', () => {
    const begin = fc.constantFrom(prefix, other, `${prefix}overlay.`, `${prefix}overlay`, 'user.', '');
    const name = fc.tuple(begin, fc.string({ minLength: 1, maxLength: 40 })).map((parts) => bytes(parts.join('')));
    fc.assert(
      fc.property(name, (name) => {
        const escaped = layer.escape(name);
        if (isErrno(escaped)) return;
        expect(layer.isOwn(escaped)).toBe(false);
        expect(textOf(layer.unescape(escaped) ?? new Uint8Array())).toBe(textOf(name));
        // each name in the layer is either the layer's own, or that of a user's xattr
        const user = layer.unescape(name);
        expect(user === undefined).toBe(layer.isOwn(name));
        if (user !== undefined) expect(layer.escape(user)).toEqual(name);
      }),
    );
  });
});

describe('an entry of the index', () => {
  const origin = encodeOrigin(0x5d663_b8579c6f, 0x5efdfe62);

  test('is named by the origin', () => {
    const name = indexName(origin);
    expect(textOf(name)).toBe(`00fb210081${'00'.repeat(16)}63d605006f9c57b862fefd5e`);
    expect(parseIndexName(name)).toEqual(origin);
    expect(name.length).toBeLessThanOrEqual(255);
  });

  test('is not read from any other name', () => {
    const origin = textOf(indexName(encodeOrigin(1, 2)));
    const wrong = ['', '#1a', 'x', '00fb', origin.slice(1), origin.slice(2), `${origin}z`, origin.slice(0, -2)];
    for (const name of wrong) expect(parseIndexName(bytes(name))).toBeUndefined();
    expect(parseIndexName(fromHex('00fb21'))).toBeUndefined();
    fc.assert(fc.property(fc.uint8Array(), (name) => void parseIndexName(name)));
  });

  test('may be unfinished', () => {
    expect(isTemporaryName(bytes('#1a'))).toBe(true);
    expect(isTemporaryName(indexName(origin))).toBe(false);
    expect(isTemporaryName(bytes(''))).toBe(false);
  });
});
