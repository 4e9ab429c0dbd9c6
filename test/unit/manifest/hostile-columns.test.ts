/** Well-formed images with false columns: one test for each property that a reader relies on. */
import { describe, expect, it } from 'vitest';
import { S_IFBLK, S_IFDIR, S_IFIFO, S_IFREG } from '../../../src/base/stat-bits.ts';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import {
  columnNames,
  type ManifestTables,
  NONE,
  PAYLOAD_INLINE,
  TABLE_COLUMNS,
  u64,
} from '../../../src/manifest/tables.ts';
import { refusal, refusedOrServes } from './exercise.ts';
import { buildTables, file, inline, symlink, treeOf, xattr } from './model.ts';
import { type Changes, payloadOf, refusalOf, refusalWith, rowOf, sample, set, setWide, without } from './tampering.ts';

describe('decodeManifest() refuses rows that are out of range', () => {
  const inodes = sample.inodes.mode.length;

  it('in dirents.inode', () => {
    for (const row of [inodes, 2 ** 31, NONE]) {
      expect(refusalWith({ 'dirents.inode': set(2, row) })).toContain(
        `dirents row 2 points to inode ${row}; there are ${inodes}`,
      );
    }
  });

  it('in directories.inode', () => {
    for (const row of [0, rowOf('/empty'), inodes, NONE]) {
      expect(refusalWith({ 'directories.inode': set(1, row) })).toMatch(/its payload is directory 1; .*point back/);
    }
  });

  it('in the payload of a directory', () => {
    for (const payload of [0, 2, sample.directories.inode.length, PAYLOAD_INLINE, NONE]) {
      const row = sample.directories.inode[1] as number;
      expect(refusalWith({ 'inodes.payload': set(row, payload) })).toContain(
        `inodes row ${row}: its payload is directory ${payload}; in inode order it must be 1`,
      );
    }
  });

  it('in the payload of a file with an object', () => {
    const row = rowOf('/bin/tool');
    for (const payload of [2, PAYLOAD_INLINE - 1]) {
      expect(refusalWith({ 'inodes.payload': set(row, payload) })).toContain(
        `inodes row ${row}: its payload is object ${payload}; there are 2`,
      );
    }
    expect(refusalWith({ 'inodes.payload': set(row, 1 - payloadOf('/bin/tool')) })).toContain(
      "its size is not its object's",
    );
    expect(refusalWith({ 'inodes.payload': set(row, NONE) })).toContain('a regular file with a size and no content');
  });

  it('in the payload of a file with inline content', () => {
    const rows = ['/etc/conf.d/a', '/etc/conf.d/b'].map((path) => rowOf(path)).sort((a, b) => a - b);
    for (const index of [1, 2, 0x7ffffffe]) {
      expect(refusalWith({ 'inodes.payload': set(rows[0] as number, PAYLOAD_INLINE + index) })).toContain(
        `its payload is inline content ${index}; in inode order it must be 0 of 2`,
      );
    }
    expect(refusalWith({ 'inodes.payload': set(rows[1] as number, PAYLOAD_INLINE) })).toContain('it must be 1 of 2');
  });

  it('in the payload of a symbolic link', () => {
    const rows = ['/etc/current', '/etc/other'].map((path) => rowOf(path)).sort((a, b) => a - b);
    for (const payload of [1, 2, PAYLOAD_INLINE, NONE]) {
      expect(refusalWith({ 'inodes.payload': set(rows[0] as number, payload) })).toContain(
        `its payload is target ${payload}; in inode order it must be 0 of 2`,
      );
    }
  });

  it('in the payload of other types', () => {
    for (const path of ['/fifo', '/socket', '/null', '/disk']) {
      expect(refusalWith({ 'inodes.payload': set(rowOf(path), 0) })).toContain('a device, fifo or socket with content');
    }
  });

  it('in inodes.xattrs', () => {
    for (const index of [2, PAYLOAD_INLINE, NONE - 1]) {
      expect(refusalWith({ 'inodes.xattrs': set(3, index) })).toContain(
        `inodes row 3 names xattr set ${index}; there are 2`,
      );
    }
  });
});

describe('decodeManifest() refuses offsets', () => {
  const offsets = [
    'targets.offset',
    'inline.offset',
    'dirents.nameOffset',
    'directories.first',
    'xattrs.nameOffset',
    'xattrs.valueOffset',
    'xattrs.first',
  ] as const;
  for (const name of offsets) {
    it(`in ${name} that decrease, do not begin at 0 or do not end at the end`, () => {
      const last = (column: Uint32Array): number => column.length - 1;
      const back = (column: Uint32Array): void => {
        column[1] = (column[last(column)] as number) + 1;
      };
      expect(refusalWith({ [name]: back })).toContain(`${name} row 2 is less than the row before`);
      expect(refusalWith({ [name]: set(0, 1) })).toContain(`${name} row 0 is 1, not 0`);
      for (const end of [-1, 1, 2 ** 31]) {
        const change = (column: Uint32Array): void => {
          column[last(column)] = (column[last(column)] as number) + end;
        };
        expect(refusalWith({ [name]: change })).toMatch(
          new RegExp(`${name} (ends with \\d+; the column|row \\d+ is less)`),
        );
      }
      expect(refusalWith({ [name]: () => new Uint32Array(0) })).toMatch(
        new RegExp(`${name} (is empty|has length 0)|xattrs.valueOffset has length`),
      );
    });
  }

  for (const name of ['targets.bytes', 'inline.bytes', 'dirents.names', 'xattrs.names', 'xattrs.values']) {
    it(`into ${name} if it has a byte more or less`, () => {
      expect(refusalWith({ [name]: without(1) })).toContain('the column that it points into has');
      const more = (column: Uint32Array): Uint8Array => Buffer.concat([Uint8Array.from(column), Buffer.from('x')]);
      expect(refusalWith({ [name]: more })).toContain('points into has');
    });
  }
});

describe('decodeManifest() refuses columns of different lengths', () => {
  for (const name of Object.keys(TABLE_COLUMNS.inodes)) {
    it(`in inodes.${name}`, () => {
      const wide = ['id', 'size', 'mtime'].includes(name);
      expect(refusalWith({ [`inodes.${name}`]: without(wide ? 2 : 1) })).toMatch(
        /inodes\.\w+ has \d+ rows, inodes\.mode \d+/,
      );
    });
  }
  it('in directories, dirents, objects and xattrs', () => {
    expect(refusalWith({ 'directories.parent': without(1) })).toContain('directories.parent has length 3');
    expect(refusalWith({ 'directories.first': without(1) })).toContain('directories.first has length 4');
    expect(refusalWith({ 'dirents.nameOffset': without(1) })).toContain('dirents.nameOffset has length');
    expect(refusalWith({ 'objects.digest': without(1) })).toContain('objects.digest (bytes) has length 63');
    expect(refusalWith({ 'xattrs.valueOffset': without(1) })).toContain('xattrs.valueOffset has length');
  });
  it('and tables without a root', () => {
    const empty = Object.fromEntries(
      columnNames().map(([table, column, type]) => [
        `${table}.${column}`,
        () => (type === 'bytes' ? new Uint8Array(0) : new Uint32Array(0)),
      ]),
    );
    expect(refusalWith(empty)).toContain('inodes has no rows, not even the root');
  });
});

describe('decodeManifest() refuses objects', () => {
  const digests = (a: number, b: number) => (column: Uint32Array) => {
    column.fill(a, 0, 32);
    column.fill(b, 32);
  };
  it('that are not sorted by digest', () => {
    expect(refusalWith({ 'objects.digest': digests(2, 1) })).toContain('objects row 1 is not sorted by digest');
    expect(refusalWith({ 'objects.digest': digests(255, 1) })).toContain('objects row 1 is not sorted by digest');
  });
  it('that are duplicates', () => {
    expect(refusalWith({ 'objects.digest': digests(1, 1) })).toContain(
      'objects row 1 has the digest of the row before',
    );
  });
  it('without a file', () => {
    const tables = buildTables(treeOf({ '/a': file('same size'), '/b': file('size same') }));
    const [a, b] = [rowOf('/a', tables), rowOf('/b', tables)];
    const unused = tables.inodes.payload[b] as number;
    const changes = { 'inodes.payload': set(b, tables.inodes.payload[a] as number) };
    expect(refusalWith(changes, tables)).toContain(`objects row ${unused} belongs to no inode`);
  });
  it('that are empty, or larger than a number can express', () => {
    expect(refusalWith({ 'objects.size': setWide(0, 0, 0) })).toContain('objects row 0 is empty');
    expect(refusalWith({ 'objects.size': setWide(0, 0, 0x200000) })).toContain(
      'objects row 0: its size is 2^53 or more',
    );
  });
  it('with too many or too few block hashes', () => {
    expect(refusalWith({ 'objects.blockHashes': without(32) })).toContain('objects.blockHashes has 32 bytes');
    expect(refusalWith({ 'objects.blockHashes': without(1) })).toContain("the objects' sizes need 64");
    const more = (column: Uint32Array): Uint8Array => Buffer.concat([Uint8Array.from(column), new Uint8Array(32)]);
    expect(refusalWith({ 'objects.blockHashes': more })).toContain('objects.blockHashes has 96 bytes');
    const large = payloadOf('/bin/tool');
    expect(refusalWith({ 'objects.size': setWide(large, 0, 0x1fffff) })).toContain('objects.blockHashes has 64 bytes');
  });
  it('of another size than the file', () => {
    expect(refusalWith({ 'objects.size': setWide(payloadOf('/bin/tool'), 100_001, 0) })).toContain(
      "its size is not its object's size",
    );
  });
});

describe('decodeManifest() refuses inodes', () => {
  const regular = rowOf('/bin/tool');
  const cases: readonly (readonly [what: string, changes: Changes, message: string])[] = [
    ['with an id that is not sorted', { 'inodes.id': setWide(4, 2, 0) }, 'inodes row 4 is not sorted by id'],
    [
      'with an id of 2^52 or more',
      { 'inodes.id': setWide(sample.inodes.mode.length - 1, 0, 0x100000) },
      'its id is 2^52 or more',
    ],
    ['of a root whose id is not 1', { 'inodes.id': setWide(0, 2, 0) }, "inodes row 0 has id 2; the root's is 1"],
    [
      'of a root whose id is 2^32 + 1',
      { 'inodes.id': setWide(0, 1, 1) },
      "inodes row 0 has id 4294967297; the root's is 1",
    ],
    ['of a root with a generation', { 'inodes.generation': set(0, 1) }, "the root's generation is not 0"],
    ['of a root that is not a directory', { 'inodes.mode': set(0, S_IFREG) }, 'the root, is not a directory'],
    ['of a directory with a generation', { 'inodes.generation': set(rowOf('/etc'), 1) }, 'a generation other than 0'],
    ['of a directory with a size', { 'inodes.size': setWide(rowOf('/etc'), 4096, 0) }, 'a directory with a size'],
    [
      'with a billion nanoseconds',
      { 'inodes.mtimeNsec': set(3, 1_000_000_000) },
      'inodes row 3: mtimeNsec is a second',
    ],
    ['with mode bits above the type', { 'inodes.mode': set(regular, S_IFREG | 0x10000) }, 'has unknown bits'],
    ['of no known type', { 'inodes.mode': set(regular, 0o170000) }, 'mode 0170000 has no known file type'],
    ['of type 0', { 'inodes.mode': set(regular, 0o644) }, 'mode 0644 has no known file type'],
    ['of a size of 2^53 or more', { 'inodes.size': setWide(regular, 0, 0x200000) }, 'its size is 2^53 or more'],
    [
      'with a device number and no device',
      { 'inodes.rdev': set(regular, 1) },
      'it has a device number but is not a device',
    ],
    [
      'of a fifo with a size',
      { 'inodes.size': setWide(rowOf('/fifo'), 1, 0) },
      'a device, fifo or socket with content',
    ],
    ['of a fifo that was a file', { 'inodes.mode': set(regular, S_IFIFO) }, 'a device, fifo or socket with content'],
    ['of a device that was a file', { 'inodes.mode': set(regular, S_IFBLK) }, 'a device, fifo or socket with content'],
    ['of a directory that was a file', { 'inodes.mode': set(regular, S_IFDIR) }, 'a directory with a size'],
    [
      'of a symbolic link of another size',
      { 'inodes.size': setWide(rowOf('/etc/current'), 1, 0) },
      "its target's length",
    ],
    ['of inline content of another size', { 'inodes.size': setWide(rowOf('/etc/conf.d/a'), 1, 0) }, 'inline content'],
    [
      'of inline content of no size',
      { 'inodes.size': setWide(rowOf('/etc/conf.d/a'), 0, 0) },
      'inline content of 0 bytes',
    ],
  ];
  for (const [what, changes, message] of cases) it(what, () => expect(refusalWith(changes)).toContain(message));

  it('with two equal ids', () => {
    const id = u64(sample.inodes.id, 3);
    const changes = { 'inodes.id': setWide(4, id % 2 ** 32, Math.floor(id / 2 ** 32)) };
    expect(refusalWith(changes)).toContain('inodes row 4 is not sorted by id');
  });

  it('with inline content of more than 64 KiB, but not of 64 KiB', () => {
    const tables = (length: number): Uint8Array =>
      encodeManifest(buildTables(treeOf({ '/a': inline('x'.repeat(length)) })));
    expect(refusedOrServes(tables(65536))).toBe(true);
    expect(refusal(tables(65537))).toContain('inline content of 65537 bytes; 1 to 65536 are allowed');
  });
});

describe('decodeManifest() refuses targets and attributes', () => {
  const link = (target: string): Uint8Array => encodeManifest(buildTables(treeOf({ '/l': symlink(target) })));
  it('that are empty, contain NUL or are longer than a path', () => {
    expect(refusal(link(''))).toContain('targets row 0 is empty');
    expect(refusal(link('a\0b'))).toContain('targets row 0 contains NUL');
    expect(refusedOrServes(link('t'.repeat(4095)))).toBe(true);
    expect(refusal(link('t'.repeat(4096)))).toContain('targets row 0 is longer than 4095 bytes');
  });

  const attributes = (...names: string[]): ManifestTables =>
    buildTables(treeOf({ '/f': file('') }, { '/f': { xattrs: names.map((name) => xattr(name, 'value')) } }));
  it('whose name is in a namespace that an image does not keep', () => {
    for (const name of [
      'a',
      'user.',
      'user',
      'users.a',
      'system.posix_acl',
      'system.other',
      'btrfs.compression',
      'user.a\0',
    ]) {
      expect(refusalOf(attributes(name))).toContain('is not an attribute name of the namespaces');
    }
    for (const name of ['user.a', 'trusted.overlay.opaque', 'security.ima', 'system.posix_acl_access']) {
      expect(refusedOrServes(encodeManifest(attributes(name)))).toBe(true);
    }
  });
  it('whose name or value is too long, or whose names together are', () => {
    expect(refusedOrServes(encodeManifest(attributes(`user.${'n'.repeat(250)}`)))).toBe(true);
    expect(refusalOf(attributes(`user.${'n'.repeat(251)}`))).toContain('is not an attribute name');
    const value = (length: number): Uint8Array =>
      encodeManifest(
        buildTables(treeOf({ '/f': file('') }, { '/f': { xattrs: [xattr('user.a', 'v'.repeat(length))] } })),
      );
    expect(refusedOrServes(value(65536))).toBe(true);
    expect(refusal(value(65537))).toContain('xattrs row 0: its value is longer than 65536 bytes');
    const many = Array.from({ length: 300 }, (_, i) => `user.${'n'.repeat(240)}${i}`);
    expect(refusalOf(attributes(...many))).toContain('the names take more than 65536 bytes');
  });
  it('whose names are not sorted, duplicate, or an empty set', () => {
    const names = (text: string) => ({ 'xattrs.names': () => Buffer.from(text) });
    expect(refusalWith(names('user.buser.a'), attributes('user.a', 'user.b'))).toContain(
      'xattrs row 1 is not sorted by name',
    );
    expect(refusalWith(names('user.auser.a'), attributes('user.a', 'user.b'))).toContain(
      'xattrs row 1 is not sorted by name',
    );
    const changes = { 'xattrs.first': () => Uint32Array.of(0, 0, 1) };
    expect(refusalWith(changes, attributes('user.a'))).toContain('xattrs.first row 0 is an empty set');
  });
});
