import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../../src/base/bytes.ts';
import { S_IFCHR, S_IFREG } from '../../../src/base/stat-bits.ts';
import {
  applyNlink,
  decodeImpure,
  decodeMetacopy,
  decodeNlink,
  decodeOpaque,
  decodeOrigin,
  decodeOverlayHandle,
  decodeProtectedAttributes,
  decodeRedirect,
  decodeUuid,
  encodeMetacopy,
  encodeNlink,
  encodeOrigin,
  encodeOverlayHandle,
  encodeProtectedAttributes,
  encodeRedirect,
  isWhiteout,
  MAX_REDIRECT_BYTES,
  mayBeXattrWhiteout,
  NULL_UUID,
  PLAIN_METACOPY,
  X,
  Y,
} from '../../../src/upper/overlay-format.ts';

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
const textOf = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('latin1');
const uint8 = fc.integer({ min: 0, max: 0xff });

/** The origin that Linux 6.18 wrote over a cfs mount. */
const ORIGIN = `00fb210081${'00'.repeat(16)}63d605006f9c57b862fefd5e`;

describe('origin', () => {
  test('is what Linux writes over a FUSE mount', () => {
    expect(decodeOrigin(fromHex(ORIGIN))).toEqual({ id: 0x5d663_b8579c6f, generation: 0x5efdfe62 });
    expect(toHex(encodeOrigin(0x5d663_b8579c6f, 0x5efdfe62))).toBe(ORIGIN);
  });

  test('names every possible inode', () => {
    const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
    const generation = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(id, generation, (id, generation) => {
        expect(decodeOrigin(encodeOrigin(id, generation))).toEqual({ id, generation });
      }),
    );
  });

  test.each([
    ['is empty: it is unknown', ''],
    ['has the handle of another type', ORIGIN.replace('00fb210081', '00fb210001')],
    ['belongs to a file system with a uuid', ORIGIN.replace('0081000000', '0081000001')],
    ['is a directory of the upper layer', ORIGIN.replace('00fb2100', '00fb2104')],
    ['is of a later version', ORIGIN.replace('00fb', '01fb')],
    ['has flags of a later version', ORIGIN.replace('00fb2100', '00fb2108')],
    ['was written by a big-endian machine', ORIGIN.replace('00fb2100', '00fb2101')],
    ['has an id of more than 53 bits', ORIGIN.replace('63d60500', '63d62500')],
    ['is a handle of another length', `00fb200081${ORIGIN.slice(10, -2)}`],
  ])('may be unknown to this mount: it %s', (_, hex) => {
    expect(decodeOrigin(fromHex(hex))).toEqual({ other: fromHex(hex) });
  });

  test.each([
    ['without magic', ORIGIN.replace('00fb', '00fa')],
    ['cut off', ORIGIN.slice(0, -2)],
    ['a header cut off', '00fb210081'],
    ['one byte', '00'],
    ['with a length shorter than its header', ORIGIN.replace('00fb21', '00fb14')],
  ])('is malformed: %s', (_, hex) => {
    expect(decodeOrigin(fromHex(hex))).toBeUndefined();
  });

  test('may be a handle with a parent', () => {
    const hex = `00fb2d0082${ORIGIN.slice(10)}${'00'.repeat(12)}`;
    expect(decodeOrigin(fromHex(hex))).toEqual({ id: 0x5d663_b8579c6f, generation: 0x5efdfe62 });
  });

  test('may be flagged as independent of byte order, and may be followed by other bytes', () => {
    for (const flags of ['02', '03']) {
      expect(decodeOrigin(fromHex(`00fb21${flags}${ORIGIN.slice(8)}ffff`))).toMatchObject({ generation: 0x5efdfe62 });
    }
  });
});

describe('struct ovl_fb', () => {
  const handle = fc.record({
    uuid: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    isUpper: fc.boolean(),
    handle: fc.record({ type: uint8, bytes: fc.uint8Array({ minLength: 0, maxLength: 128 }) }),
  });

  test('can have the handle of any file system', () => {
    fc.assert(
      fc.property(handle, (handle) => {
        expect(decodeOverlayHandle(encodeOverlayHandle(handle))).toEqual(handle);
      }),
    );
  });

  test('has the bytes that Linux wrote for the upper directory of an index on tmpfs', () => {
    const hex = '00fb210401100f9c2f4df44a09840793d0f71e41d7b515979413000000' + '00000000';
    const decoded = decodeOverlayHandle(fromHex(hex));
    expect(decoded).toEqual({
      uuid: fromHex('100f9c2f4df44a09840793d0f71e41d7'),
      isUpper: true,
      handle: { type: 1, bytes: fromHex('b51597941300000000000000') },
    });
    if (typeof decoded === 'object') expect(toHex(encodeOverlayHandle(decoded))).toBe(hex);
  });

  test('is not made of values that do not fit', () => {
    const make = (type: number, length: number, uuid = NULL_UUID): void => {
      encodeOverlayHandle({ uuid, isUpper: false, handle: { type, bytes: new Uint8Array(length) } });
    };
    expect(() => make(0x10081, 12)).toThrow('not a handle');
    expect(() => make(0x81, 250)).toThrow('not a handle');
    expect(() => make(0x81, 12, new Uint8Array(4))).toThrow('not a handle');
  });
});

test('opaque', () => {
  expect(decodeOpaque(Y)).toBe('opaque');
  expect(decodeOpaque(X)).toBe('xattr-whiteouts');
  for (const other of ['', 'n', 'yy', 'y\0', 'Y']) expect(decodeOpaque(bytes(other))).toBe('merged');
  expect(decodeImpure(Y)).toBe(true);
  for (const other of ['', 'x', 'yy']) expect(decodeImpure(bytes(other))).toBe(false);
});

test('whiteouts', () => {
  expect(isWhiteout(S_IFCHR, 0)).toBe(true);
  expect(isWhiteout(S_IFCHR | 0o666, 0)).toBe(true);
  expect(isWhiteout(S_IFCHR, 0x103)).toBe(false);
  expect(isWhiteout(S_IFREG, 0)).toBe(false);
  expect(mayBeXattrWhiteout(S_IFREG | 0o644, 0)).toBe(true);
  expect(mayBeXattrWhiteout(S_IFREG, 1)).toBe(false);
  expect(mayBeXattrWhiteout(S_IFCHR, 0)).toBe(false);
});

describe('metacopy', () => {
  const digest = fc.uint8Array({ minLength: 1, maxLength: 64 });

  test('is empty if it has the default values', () => {
    expect(encodeMetacopy(PLAIN_METACOPY)).toHaveLength(0);
    expect(decodeMetacopy(new Uint8Array())).toEqual(PLAIN_METACOPY);
    expect(decodeMetacopy(Uint8Array.of(0, 4, 0, 0))).toEqual(PLAIN_METACOPY);
  });

  test('can have a digest', () => {
    const sha256 = Uint8Array.from({ length: 32 }, (_, i) => i);
    const value = encodeMetacopy({ flags: 0, algorithm: 1, digest: sha256 });
    expect(toHex(value)).toBe(`00240001${toHex(sha256)}`);
    fc.assert(
      fc.property(uint8, fc.integer({ min: 1, max: 0xff }), digest, (flags, algorithm, digest) => {
        const metacopy = { flags, algorithm, digest };
        expect(decodeMetacopy(encodeMetacopy(metacopy))).toEqual(metacopy);
      }),
    );
  });

  test('is malformed if it is too short, of another version, or not as long as its header states', () => {
    for (const hex of ['00', '000400', '01040000', '00050000', '0004000000', '00240001']) {
      expect(decodeMetacopy(fromHex(hex))).toBeUndefined();
    }
  });
});

describe('nlink', () => {
  test('is relative to one of the layers', () => {
    const relative = fc.record({
      to: fc.constantFrom('upper' as const, 'lower' as const),
      difference: fc.integer(),
    });
    fc.assert(
      fc.property(relative, (relative) => {
        const value = encodeNlink(relative);
        expect(value.length).toBeLessThanOrEqual(12);
        expect(decodeNlink(value)).toEqual(relative);
      }),
    );
    expect(textOf(encodeNlink({ to: 'upper', difference: 0 }))).toBe('U+0');
    expect(textOf(encodeNlink({ to: 'lower', difference: -1 }))).toBe('L-1');
  });

  test('is added to the links of that layer', () => {
    expect(applyNlink({ to: 'upper', difference: -1 }, 3, 7)).toBe(2);
    expect(applyNlink({ to: 'lower', difference: 2 }, 3, 7)).toBe(9);
    expect(applyNlink({ to: 'upper', difference: -3 }, 3, 7)).toBeUndefined();
    expect(applyNlink({ to: 'upper', difference: 0x7fffffff }, 3, 7)).toBeUndefined();
  });

  test('is read as Linux reads it', () => {
    expect(decodeNlink(bytes('U+007\n'))).toEqual({ to: 'upper', difference: 7 });
    expect(decodeNlink(bytes('L-0'))).toEqual({ to: 'lower', difference: 0 });
    const malformed = ['', 'U', 'U+', 'U1', 'X+1', 'U+1 ', 'U+1\n\n', 'U++1', 'U+2147483648', 'U+0x1', 'U+1\0'];
    for (const value of [...malformed, 'U+00000000000']) expect(decodeNlink(bytes(value))).toBeUndefined();
  });
});

describe('redirect', () => {
  const isDots = (name: Uint8Array): boolean => name.length < 3 && name.every((byte) => byte === 0x2e);
  const name = fc
    .array(
      uint8.filter((byte) => byte !== 0 && byte !== 0x2f),
      { minLength: 1, maxLength: 20 },
    )
    .map((values) => Uint8Array.from(values))
    .filter((name) => !isDots(name));
  const redirect = fc.oneof(
    name.map((name) => ({ isAbsolute: false, names: [name] })),
    fc.array(name, { minLength: 1, maxLength: 12 }).map((names) => ({ isAbsolute: true, names })),
  );

  test('is a name, or a path from the root', () => {
    expect(decodeRedirect(bytes('dir'))).toEqual({ isAbsolute: false, names: [bytes('dir')] });
    expect(decodeRedirect(bytes('/dir/sub'))).toEqual({ isAbsolute: true, names: [bytes('dir'), bytes('sub')] });
    expect(decodeRedirect(bytes('/...'))).toEqual({ isAbsolute: true, names: [bytes('...')] });
    expect(textOf(encodeRedirect({ isAbsolute: true, names: [bytes('dir'), bytes('sub')] }))).toBe('/dir/sub');
  });

  test('is decoded as it was encoded', () => {
    fc.assert(
      fc.property(redirect, (redirect) => {
        expect(decodeRedirect(encodeRedirect(redirect) as Uint8Array)).toEqual(redirect);
      }),
    );
  });

  test.each(['', '/', 'a/', 'a/b', '//a', '/a/', '/a//b', '.', '..', '/..', '/a/../b', '/./a', 'a\0', '/a\0/b', '\0'])(
    'is not "%s"',
    (value) => {
      expect(decodeRedirect(bytes(value))).toBeUndefined();
    },
  );

  test('is read, but not made, if it is longer than Linux makes it', () => {
    const long = { isAbsolute: true, names: [bytes('n'.repeat(MAX_REDIRECT_BYTES - 1))] };
    expect(encodeRedirect(long)).toHaveLength(MAX_REDIRECT_BYTES);
    expect(encodeRedirect({ isAbsolute: true, names: [...long.names, bytes('n')] })).toBeUndefined();
    expect(decodeRedirect(bytes(`/${'n'.repeat(300)}`))?.names).toHaveLength(1);
  });

  test('is not made of invalid names', () => {
    const wrong = [
      { isAbsolute: true, names: [] },
      { isAbsolute: false, names: [bytes('a'), bytes('b')] },
      { isAbsolute: true, names: [bytes('..')] },
      { isAbsolute: true, names: [bytes('a/b')] },
      { isAbsolute: false, names: [bytes('')] },
    ];
    for (const redirect of wrong) expect(() => encodeRedirect(redirect)).toThrow('not a redirect');
  });
});

test('protattr', () => {
  for (const append of [false, true]) {
    for (const immutable of [false, true]) {
      const value = encodeProtectedAttributes({ append, immutable });
      if (value === undefined) expect({ append, immutable }).toEqual({ append: false, immutable: false });
      else expect(decodeProtectedAttributes(value)).toEqual({ append, immutable });
    }
  }
  expect(textOf(encodeProtectedAttributes({ append: true, immutable: true }))).toBe('ai');
  for (const value of ['', 'x', 'ax', 'a'.repeat(33)]) expect(decodeProtectedAttributes(bytes(value))).toBeUndefined();
});

test('uuid', () => {
  expect(decodeUuid(new Uint8Array(16))).toHaveLength(16);
  expect(decodeUuid(new Uint8Array(15))).toBeUndefined();
  expect(decodeUuid(new Uint8Array(17))).toBeUndefined();
});

test('no value makes a decoder throw', () => {
  const begun = fc.tuple(fc.constantFrom('00fb', '0004', '2f', '552b', ''), fc.uint8Array({ maxLength: 200 }));
  fc.assert(
    fc.property(begun, ([begin, rest]) => {
      const value = Uint8Array.from([...fromHex(begin), ...rest]);
      const decoders = [decodeOrigin, decodeOverlayHandle, decodeOpaque, decodeImpure, decodeMetacopy, decodeNlink];
      for (const decode of [...decoders, decodeRedirect, decodeProtectedAttributes, decodeUuid]) decode(value);
    }),
    { numRuns: 2000 },
  );
});
