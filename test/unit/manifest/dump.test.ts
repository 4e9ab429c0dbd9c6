import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareBytes, toHex } from '../../../src/base/bytes.ts';
import { digestContent, type HashAlgorithm } from '../../../src/base/digest.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../../src/base/stat-bits.ts';
import { type InodeMetadata, ManifestBuilder } from '../../../src/manifest/builder.ts';
import { decodeManifest } from '../../../src/manifest/decode.ts';
import { writeDump } from '../../../src/manifest/dump.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import type { ManifestTables } from '../../../src/manifest/tables.ts';
import type { Xattr } from '../../../src/manifest/xattr-sets.ts';

/** One byte for each character, so that a literal can hold any name. */
const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

const metadata = (mode: number, more: Partial<InodeMetadata> = {}): InodeMetadata => ({
  mode,
  uid: 0,
  gid: 0,
  mtime: 0,
  mtimeNsec: 0,
  rdev: 0,
  xattrs: [],
  ...more,
});

function dumpOf(tables: ManifestTables, ...paths: string[]): string {
  const lines: string[] = [];
  writeDump(tables, (line) => lines.push(line), paths.length === 0 ? undefined : paths.map(bytes));
  return lines.join('');
}

const CONTENT = new Uint8Array(5000).fill(7);
const BLAKE3 = toHex(digestContent('blake3', CONTENT).digest);
const FSVERITY = toHex(digestContent('fsverity-sha256', CONTENT).digest);
const objectPath = (hex: string): string => `${hex.slice(0, 2)}/${hex.slice(2)}`;

/** A tree with every file type and every field that can be set. */
function everything(hash: HashAlgorithm): ManifestTables {
  const builder = new ManifestBuilder(hash, metadata(0o40755, { mtime: 1695372970, mtimeNsec: 944925700 }));
  const add = (parent: number, name: string, mode: number, more: Partial<InodeMetadata> = {}): number => {
    const inode = builder.addInode(metadata(mode, more));
    builder.link(parent, bytes(name), inode);
    return inode;
  };
  const inline = (inode: number, text: string): void =>
    builder.setInline(inode, digestContent(hash, bytes(text)), bytes(text));

  const directory = add(0, 'dir', 0o41777, { uid: 1000, gid: 4294967294 });
  const file = add(directory, 'z', 0o104755, {
    mtime: 1,
    mtimeNsec: 1,
    xattrs: [
      [bytes('user.k=v'), bytes('a=b c')],
      [bytes('security.x'), bytes('\x00\x01')],
      [bytes('user.dash'), bytes('-')],
      [bytes('user.none'), bytes('')],
    ],
  });
  builder.setObject(file, digestContent(hash, CONTENT));
  builder.link(0, bytes('a'), file);
  builder.link(0, bytes('dir-'), file);
  inline(add(directory, '-', 0o100644, { mtime: -5, mtimeNsec: 999999999 }), 'a b\n');
  inline(add(directory, 'dash', 0o100644), '-');
  add(directory, 'empty', 0o100600);
  const link = add(0, 'l', 0o120777);
  builder.setTarget(link, bytes('-'));
  builder.link(0, bytes('l2'), link);
  add(0, 'char', 0o20600, { rdev: 259 });
  add(0, 'block', 0o60600, { rdev: 1792 });
  add(0, 'device', 0o20600, { rdev: 0xffffffff });
  add(0, 'fifo', 0o10600);
  add(0, 'socket', 0o140600);
  add(0, 'whiteout', 0o20000);
  add(0, '\\ \n\r\t\x01\x7f\xff=', 0o100600);
  return builder.finish();
}

const EVERYTHING = String.raw`/ 0 40755 3 0 0 0 1695372970.944925700 - - -
/\\\x20\n\r\t\x01\x7f\xff= 0 100600 1 0 0 0 0.0 - - -
/a 5000 104755 3 0 0 0 1.1 OBJECT - DIGEST security.x=\x00\x01 user.dash=\x2d user.k\x3dv=a\x3db\x20c user.none=
/block 0 60600 1 0 0 1792 0.0 - - -
/char 0 20600 1 0 0 259 0.0 - - -
/device 0 20600 1 0 0 4294967295 0.0 - - -
/dir 0 41777 2 1000 4294967294 0 0.0 - - -
/dir/- 4 100644 1 0 0 0 -5.999999999 - a\x20b\n -
/dir/dash 1 100644 1 0 0 0 0.0 - \x2d -
/dir/empty 0 100600 1 0 0 0 0.0 - - -
/dir/z 5000 @104755 3 0 0 0 1.1 /a - DIGEST security.x=\x00\x01 user.dash=\x2d user.k\x3dv=a\x3db\x20c user.none=
/dir- 5000 @104755 3 0 0 0 1.1 /a - DIGEST security.x=\x00\x01 user.dash=\x2d user.k\x3dv=a\x3db\x20c user.none=
/fifo 0 10600 1 0 0 0 0.0 - - -
/l 1 120777 2 0 0 0 0.0 \x2d - -
/l2 1 @120777 2 0 0 0 0.0 /l - -
/socket 0 140600 1 0 0 0 0.0 - - -
/whiteout 0 20000 1 0 0 0 0.0 - - -
`;

describe('writeDump()', () => {
  test('writes every file type and field', () => {
    expect(dumpOf(everything('fsverity-sha256'))).toBe(
      EVERYTHING.replace('OBJECT', objectPath(FSVERITY)).replaceAll('DIGEST', FSVERITY),
    );
  });

  test('names a BLAKE3 object as payload, and leaves the fs-verity digest unset', () => {
    expect(dumpOf(everything('blake3'))).toBe(
      EVERYTHING.replace('OBJECT', objectPath(BLAKE3)).replaceAll('DIGEST', '-'),
    );
  });

  test('writes only the given paths, with the directories above them, each once and in path order', () => {
    const dump = dumpOf(everything('blake3'), '/whiteout', '/dir-', '/dir/z', '/dir/dash', '/dir/dash');
    expect(dump.split('\n').map((line) => line.split(' ').slice(0, 3).join(' '))).toEqual([
      '/ 0 40755',
      '/dir 0 41777',
      '/dir/dash 1 100644',
      '/dir/z 5000 104755',
      '/dir- 5000 @104755',
      '/whiteout 0 20000',
      '',
    ]);
    expect(dump, 'the first link among the given ones is the full line').toContain('1.1 /dir/z -');
  });

  test('writes a given directory with everything below it, even if a path below it is also given', () => {
    const all = EVERYTHING.split('\n').filter((line) => /^\/(dir(\/.*)?)? /.test(line));
    const paths = dumpOf(everything('blake3'), '/dir/z', '/dir').split('\n').slice(0, -1);
    expect(paths.map((line) => line.split(' ')[0])).toEqual(all.map((line) => line.split(' ')[0]));
    expect(dumpOf(everything('blake3'), '/dir/z', '/')).toBe(dumpOf(everything('blake3')));
  });

  test('throws for a path that is not in the image', () => {
    expect(() => dumpOf(everything('blake3'), '/dir/none')).toThrow('not in the image');
    expect(() => dumpOf(everything('blake3'), '/fifo/x')).toThrow('not in the image');
  });

  test('ends with the exception of emit', () => {
    const stop = new Error('enough');
    expect(() =>
      writeDump(everything('blake3'), () => {
        throw stop;
      }),
    ).toThrow(stop);
  });
});

/** A line of the dump, read by the grammar. */
interface Line {
  readonly path: string;
  readonly hardLink: boolean;
  readonly fields: readonly string[];
  readonly payload: string | undefined;
  readonly content: string | undefined;
  readonly digest: string | undefined;
  readonly xattrs: readonly (readonly [string, string])[];
}

function unescapeField(field: string): string {
  expect(field).toMatch(/^(?:[!-[\]-~]|\\[\\nrt]|\\x[0-9a-f]{2})*$/);
  const named: Record<string, string> = { n: '\n', r: '\r', t: '\t', '\\': '\\' };
  return field.replace(/\\(?:x(..)|(.))/g, (_, hex: string | undefined, letter: string) =>
    hex === undefined ? (named[letter] as string) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

const unescapeOptional = (field: string): string | undefined => (field === '-' ? undefined : unescapeField(field));

function parseLine(line: string): Line {
  const [path, size, mode, nlink, uid, gid, rdev, mtime, payload, content, digest, ...xattrs] = line.split(' ');
  const hardLink = mode?.startsWith('@') === true;
  return {
    path: unescapeField(path as string),
    hardLink,
    fields: [size, hardLink ? mode?.slice(1) : mode, nlink, uid, gid, rdev, mtime] as string[],
    payload: unescapeOptional(payload as string),
    content: unescapeOptional(content as string),
    digest: unescapeOptional(digest as string),
    xattrs: xattrs.map((field) => {
      const [key, value, ...rest] = field.split('=');
      expect(rest, '"=" inside of a field is escaped').toEqual([]);
      return [unescapeField(key as string), unescapeField(value as string)] as const;
    }),
  };
}

/** An inode of a generated tree with its links: the directory (modulo their number) and the name of each. */
interface Generated {
  readonly mode: number;
  readonly numbers: Pick<InodeMetadata, 'uid' | 'gid' | 'mtime' | 'mtimeNsec' | 'rdev'>;
  readonly text: Uint8Array;
  readonly stored: boolean;
  readonly xattrs: readonly Xattr[];
  readonly links: readonly { readonly parent: number; readonly name: Uint8Array }[];
}

// bytes that need an escape are frequent
const byte = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(...bytes('-=\\ \n\r\txn@.\x7f')));
const byteString = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.array(byte, { minLength, maxLength }).map((list) => Uint8Array.from(list));
const name = byteString(1, 12).filter((b) => !b.includes(0) && !b.includes(0x2f) && !['.', '..'].includes(latin1(b)));
const u32 = fc.nat({ max: 0xffffffff });

const generatedInode: fc.Arbitrary<Generated> = fc.record({
  mode: fc
    .tuple(fc.constantFrom(0o140000, 0o120000, 0o100000, 0o60000, 0o40000, 0o20000, 0o10000), fc.nat({ max: 0o7777 }))
    .map(([type, permissions]) => type | permissions),
  numbers: fc.record({
    uid: u32,
    gid: u32,
    mtime: fc.maxSafeInteger(),
    mtimeNsec: fc.nat({ max: 999_999_999 }),
    rdev: u32,
  }),
  text: byteString(1, 40).map((b) => b.map((x) => (x === 0 ? 1 : x))),
  stored: fc.boolean(),
  xattrs: fc.uniqueArray(
    fc.tuple(
      byteString(1, 8).map((b) => Buffer.concat([bytes('user.'), b.map((x) => (x === 0 ? 1 : x))])),
      byteString(0, 20),
    ),
    { maxLength: 3, selector: ([key]) => latin1(key) },
  ),
  links: fc.array(fc.record({ parent: fc.nat(), name }), { minLength: 1, maxLength: 3 }),
});

function latin1(b: Uint8Array): string {
  return Buffer.from(b).toString('latin1');
}

/** The expected line of a path, from the generated inodes and not from the tables. */
interface Expected {
  readonly inode: number;
  readonly line: Omit<Line, 'path' | 'hardLink' | 'payload'> & { payload: string | undefined };
}

function build(hash: HashAlgorithm, inodes: readonly Generated[]): [ManifestTables, Map<string, Expected>] {
  const builder = new ManifestBuilder(hash, metadata(0o40755));
  const directories = [{ inode: 0, path: '' }];
  const nlink = new Map<number, number>([[0, 2]]);
  const links: { path: string; inode: number; generated: Generated | undefined }[] = [
    { path: '/', inode: 0, generated: undefined },
  ];
  const taken = new Set<string>();
  const count = (inode: number): void => void nlink.set(inode, (nlink.get(inode) ?? 0) + 1);
  for (const generated of inodes) {
    const isDirectory = (generated.mode & S_IFMT) === S_IFDIR;
    const places = (isDirectory ? generated.links.slice(0, 1) : generated.links)
      .map(({ parent, name: linkName }) => {
        const directory = directories[parent % directories.length] as { inode: number; path: string };
        return { parent: directory.inode, name: linkName, path: `${directory.path}/${latin1(linkName)}` };
      })
      .filter(({ path }) => !taken.has(path) && taken.add(path));
    if (places.length === 0) continue;
    const inode = builder.addInode(metadata(generated.mode, { ...generated.numbers, xattrs: generated.xattrs }));
    if ((generated.mode & S_IFMT) === S_IFLNK) builder.setTarget(inode, generated.text);
    if ((generated.mode & S_IFMT) === S_IFREG) {
      const digest = digestContent(hash, generated.text);
      if (generated.stored) builder.setObject(inode, digest);
      else builder.setInline(inode, digest, generated.text);
    }
    if (isDirectory) nlink.set(inode, 2);
    for (const place of places) {
      builder.link(place.parent, place.name, inode);
      count(isDirectory ? place.parent : inode);
      links.push({ path: place.path, inode, generated });
      if (isDirectory) directories.push({ inode, path: place.path });
    }
  }
  const expected = new Map(
    links.map(({ path, inode, generated }) => [
      path,
      { inode, line: expectedLine(hash, generated, nlink.get(inode) as number) },
    ]),
  );
  return [builder.finish(), expected];
}

function expectedLine(hash: HashAlgorithm, generated: Generated | undefined, nlink: number): Expected['line'] {
  const mode = generated?.mode ?? 0o40755;
  const { uid, gid, mtime, mtimeNsec, rdev } = generated?.numbers ?? metadata(mode);
  const text = generated?.text ?? new Uint8Array(0);
  const type = mode & S_IFMT;
  const stored = generated?.stored === true && type === S_IFREG;
  const digest = stored ? toHex(digestContent(hash, text).digest) : undefined;
  const device = type === 0o60000 || type === 0o20000;
  const size = type === S_IFREG || type === S_IFLNK ? text.length : 0;
  return {
    fields: [size, mode.toString(8), nlink, uid, gid, device ? rdev : 0, `${mtime}.${mtimeNsec}`].map(String),
    payload: type === S_IFLNK ? latin1(text) : digest === undefined ? undefined : objectPath(digest),
    content: type === S_IFREG && !stored ? latin1(text) : undefined,
    digest: hash === 'fsverity-sha256' ? digest : undefined,
    xattrs: (generated?.xattrs ?? [])
      .toSorted((a, b) => compareBytes(a[0], b[0]))
      .map(([key, value]) => [latin1(key), latin1(value)] as const),
  };
}

describe('the lines of writeDump()', () => {
  test('parse to the tree that was built', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<HashAlgorithm>('blake3', 'fsverity-sha256'),
        fc.array(generatedInode, { maxLength: 30 }),
        (hash, inodes) => {
          const [tables, expected] = build(hash, inodes);
          const dump = dumpOf(decodeManifest(encodeManifest(tables)));
          expect(dump.endsWith('\n')).toBe(true);
          const lines = dump.slice(0, -1).split('\n').map(parseLine);
          expect(lines.map(({ path }) => path).sort()).toEqual([...expected.keys()].sort());
          const first = new Map<number, string>();
          const seen = new Set<string>();
          for (const { path, hardLink, ...line } of lines) {
            const parent = path.slice(0, path.lastIndexOf('/')) || '/';
            if (path !== '/') expect(seen, 'a directory comes before what is in it').toContain(parent);
            seen.add(path);
            const { inode, line: wanted } = expected.get(path) as Expected;
            expect(hardLink).toBe(first.has(inode));
            expect(line).toEqual(hardLink ? { ...wanted, payload: first.get(inode) } : wanted);
            if (!first.has(inode)) first.set(inode, path);
          }
        },
      ),
    );
  });
});
