/** Arbitrary trees for fast-check. */
import fc from 'fast-check';
import { HASH_ALGORITHMS } from '../../../src/base/digest.ts';
import type { Xattr } from '../../../src/manifest/xattr-sets.ts';
import type { Attributes, Body, Inode, Link, Tree } from './model.ts';

const NUL = 0;
const SLASH = 0x2f;

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const withoutNul = (bytes: Uint8Array): Uint8Array => bytes.map((byte) => (byte === NUL ? 1 : byte));

/** Few and similar names, so that they collide, share prefixes, and sort around the slash. */
const closeName = fc.constantFrom('a', 'b', 'a.', 'a!', 'a-', 'a0', 'aa', 'A', '\xff', '\xff\xff', '\x01', '...');

export const anyName: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 3, arbitrary: closeName.map((text) => Uint8Array.from(Buffer.from(text, 'latin1'))) },
  {
    weight: 2,
    arbitrary: fc
      .uint8Array({ minLength: 1, maxLength: 255 })
      .map((bytes) => withoutNul(bytes).map((byte) => (byte === SLASH ? 0x30 : byte)))
      .filter((bytes) => !['2e', '2e2e'].includes(hexOf(bytes))),
  },
);

const xattrName = fc.oneof(
  fc.constantFrom('system.posix_acl_access', 'system.posix_acl_default', 'user.a', 'user.b', 'security.capability'),
  fc
    .tuple(
      fc.constantFrom('user.', 'trusted.', 'security.'),
      fc.string({ minLength: 1, maxLength: 12, unit: 'binary' }),
    )
    .map(([prefix, rest]) => prefix + rest.replaceAll('\0', '.')),
);

const anyXattrs: fc.Arbitrary<Xattr[]> = fc
  .uniqueArray(fc.tuple(xattrName, fc.uint8Array({ maxLength: 40 })), { maxLength: 4, selector: ([name]) => name })
  .map((list) => list.map(([name, value]): Xattr => [Buffer.from(name), value]));

const u32 = fc.integer({ min: 0, max: 0xffffffff });

const anyAttributes: fc.Arbitrary<Attributes> = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: u32,
  gid: u32,
  mtime: fc.oneof(fc.maxSafeInteger(), fc.constantFrom(0, -1, 2 ** 31, 2 ** 32, -(2 ** 32), -(2 ** 31))),
  mtimeNsec: fc.integer({ min: 0, max: 999_999_999 }),
  xattrs: anyXattrs,
});

/** Sizes around the block boundaries cost little, because the bytes are all the same. */
const anyContent = fc
  .tuple(fc.oneof(fc.nat({ max: 5 }), fc.constantFrom(64, 65, 65535, 65536, 65537, 200_000)), fc.nat({ max: 3 }))
  .map(([length, fill]) => new Uint8Array(length).fill(fill));

const anyLeaf: fc.Arbitrary<Body> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(anyContent, fc.constantFrom('inline', 'object'))
      .map(
        ([content, stored]): Body => ({ type: 'file', content, stored: content.length > 65536 ? 'object' : stored }),
      ),
  },
  {
    weight: 2,
    arbitrary: fc
      .uint8Array({ minLength: 1, maxLength: 60 })
      .map((bytes): Body => ({ type: 'symlink', target: withoutNul(bytes) })),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constantFrom('character', 'block'), device: u32 }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constantFrom('fifo', 'socket') }) },
);

const anyPlace = fc.record({ parent: fc.nat({ max: 1000 }), name: anyName });

export interface TreeBounds {
  readonly directories?: number;
  readonly leaves?: number;
  /** The smallest number of leaves that are tried; a leaf without a free name is left out. */
  readonly minLeaves?: number;
}

/** Any tree of at most that many directories and leaves, with up to three names for each leaf. */
export function anyTree({ directories = 8, leaves = 16, minLeaves = 0 }: TreeBounds = {}): fc.Arbitrary<Tree> {
  return fc
    .record({
      hash: fc.constantFrom(...HASH_ALGORITHMS),
      root: anyAttributes,
      directories: fc.array(fc.record({ place: anyPlace, attributes: anyAttributes }), { maxLength: directories }),
      leaves: fc.array(
        fc.record({
          body: anyLeaf,
          attributes: anyAttributes,
          places: fc.array(anyPlace, { minLength: 1, maxLength: 3 }),
        }),
        { minLength: minLeaves, maxLength: leaves },
      ),
    })
    .map((raw): Tree => {
      const inodes: Inode[] = [{ attributes: raw.root, body: { type: 'directory' }, links: [] }];
      const taken = new Set<string>();
      // a name that its directory already has is left out, and so is an inode that has no name then
      const place = ({ parent, name }: { parent: number; name: Uint8Array }, among: number): Link[] => {
        const key = `${parent % among} ${hexOf(name)}`;
        if (taken.has(key)) return [];
        taken.add(key);
        return [{ parent: parent % among, name }];
      };
      for (const { place: at, attributes } of raw.directories) {
        const links = place(at, inodes.length);
        if (links.length > 0) inodes.push({ attributes, body: { type: 'directory' }, links });
      }
      const among = inodes.length;
      for (const { body, attributes, places } of raw.leaves) {
        const links = places.flatMap((at) => place(at, among));
        if (links.length > 0) inodes.push({ attributes, body, links });
      }
      return { hash: raw.hash, inodes };
    });
}
