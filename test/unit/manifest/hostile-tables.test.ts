/** Well-formed images with false names and trees: one test for each property that a reader relies on. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeManifest } from '../../../src/manifest/encode.ts';
import { columnNames, type ManifestTables, NONE, PAYLOAD_INLINE } from '../../../src/manifest/tables.ts';
import { refusal, refusedOrServes } from './exercise.ts';
import { buildTables, directory, file, treeOf } from './model.ts';
import { type Changes, changed, payloadOf, refusalWith, rowOf, sample, set } from './tampering.ts';

/** A tree with files of these names in the root. The names have one length, so that one can replace another. */
const named = (...names: string[]): ManifestTables =>
  buildTables(treeOf(Object.fromEntries(names.map((name) => [`/${name}`, file('')]))));
const renamed = (tables: ManifestTables, names: string): string =>
  refusalWith({ 'dirents.names': (column) => void column.set(Buffer.from(names, 'latin1')) }, tables);

describe('decodeManifest() refuses names', () => {
  const names: readonly (readonly [what: string, was: string, is: string, message: string])[] = [
    ['with a slash', 'abc', 'a/c', 'dirents row 0: the name "a/c" contains "/"'],
    ['that are a slash', 'a', '/', 'the name "/" contains "/"'],
    ['with NUL', 'abc', 'ab\0', 'dirents row 0: the name "ab\\x00" contains NUL'],
    ['that are "."', 'a', '.', 'the name "." is reserved'],
    ['that are ".."', 'ab', '..', 'the name ".." is reserved'],
  ];
  for (const [what, was, is, message] of names) {
    it(what, () => expect(renamed(named(was), is)).toContain(message));
  }

  it('that are empty', () => {
    const change = { 'dirents.nameOffset': set(1, 0), 'dirents.names': () => Buffer.from('bb') };
    expect(refusalWith(change, named('a', 'b'))).toContain('dirents row 0: an empty name');
  });

  it('of 256 bytes, but not of 255', () => {
    const long = (length: number): Uint8Array => encodeManifest(named('n'.repeat(length)));
    expect(refusedOrServes(long(255))).toBe(true);
    expect(refusal(long(256))).toContain('a name of 256 bytes; 255 are allowed');
  });

  it('that are duplicates in one directory, but accepts them in two', () => {
    expect(renamed(named('a', 'b'), 'aa')).toContain('dirents row 1: "a" does not sort after the name before it');
    const paths = { '/d': directory, '/d/a': file(''), '/a': file(''), '/e': directory, '/e/a': file('') };
    expect(refusedOrServes(encodeManifest(buildTables(treeOf(paths))))).toBe(true);
  });

  it('that are not sorted by their bytes', () => {
    expect(renamed(named('a', 'b'), 'ba')).toContain('dirents row 1: "a" does not sort after');
    expect(renamed(named('a', 'b'), '\xffa')).toContain('dirents row 1: "a" does not sort after');
    const prefix = { 'dirents.nameOffset': set(1, 2), 'dirents.names': () => Buffer.from('aaa') };
    expect(refusalWith(prefix, named('a', 'ab'))).toContain('dirents row 1: "a" does not sort after');
  });
});

describe('decodeManifest() refuses trees', () => {
  /** Directories in the root and in each other. Rows are in the order of ids, so they are looked up. */
  const nest = buildTables(treeOf({ '/a': directory, '/a/b': directory, '/a/b/c': directory, '/f': file('') }));
  const direntOf = (path: string): number => nest.dirents.inode.indexOf(rowOf(path, nest));

  it('in which two directories hold each other', () => {
    // the entries of the root and of the lowest directory are swapped: the root has no directory, /a/b/c has /a
    const tables = buildTables(treeOf({ '/a': directory, '/a/b': directory, '/f': file('') }));
    const [a, b, f] = ['/a', '/a/b', '/f'].map((path) => rowOf(path, tables)) as [number, number, number];
    const changes: Changes = {
      'dirents.inode': (column) => {
        // the root has only /f, the directory b has a
        const rows: number[] = [];
        for (const row of tables.directories.inode) rows.push(row === 0 ? f : row === a ? b : a);
        column.set(rows);
      },
      'directories.first': (column) => column.set([0, 1, 2, 3]),
      'directories.parent': (column) => {
        tables.directories.inode.forEach((row, i) => {
          column[i] = row === 0 ? 0 : row === a ? b : a;
        });
      },
      'inodes.nlink': (column) => {
        column[0] = 2;
        column[a] = 3;
        column[b] = 3;
      },
    };
    expect(refusalWith(changes, tables)).toMatch(
      /directories row \d is not reachable from the root: a directory cycle/,
    );
  });

  it('in which a directory holds itself', () => {
    const tables = buildTables(treeOf({ '/a': directory, '/f': file('') }));
    const [a, f] = [rowOf('/a', tables), rowOf('/f', tables)];
    const changes: Changes = {
      'dirents.inode': (column) => column.set([f, a]),
      'directories.first': (column) => column.set([0, 1, 2]),
      'directories.parent': (column) => column.set([0, a]),
      'inodes.nlink': (column) => {
        column[0] = 2;
        column[a] = 3;
      },
    };
    expect(refusalWith(changes, tables)).toContain(
      'directories row 1 is not reachable from the root: a directory cycle',
    );
  });

  it('in which a directory holds the root', () => {
    const changes = { 'dirents.inode': set(direntOf('/a/b/c'), 0) };
    expect(refusalWith(changes, nest)).toMatch(/dirents row \d points to the root: a directory cycle/);
  });

  it('with an inode without a name', () => {
    const fifo = rowOf('/fifo');
    const changes = { 'dirents.inode': set(sample.dirents.inode.indexOf(fifo), rowOf('/empty')) };
    expect(refusalWith(changes)).toContain(`inodes row ${fifo} is an orphan: no dirent points to it`);
  });

  it('with a second link of a directory', () => {
    const changes = { 'dirents.inode': set(direntOf('/f'), rowOf('/a', nest)) };
    expect(refusalWith(changes, nest)).toMatch(/dirents row \d is a second link of directory inode \d/);
  });

  it('with a wrong link count, of a file and of a directory', () => {
    const tool = rowOf('/bin/tool');
    for (const nlink of [0, 1, 3, NONE]) {
      expect(refusalWith({ 'inodes.nlink': set(tool, nlink) })).toContain(
        `inodes row ${tool}: nlink is ${nlink}, the tree has 2`,
      );
    }
    expect(refusalWith({ 'inodes.nlink': set(0, 5) })).toContain('inodes row 0: nlink is 5, the tree has 4');
    const etc = rowOf('/etc');
    expect(refusalWith({ 'inodes.nlink': set(etc, 2) })).toContain(`inodes row ${etc}: nlink is 2, the tree has 3`);
  });

  it('with a parent that does not contain the directory', () => {
    const confd = payloadOf('/etc/conf.d');
    for (const parent of [0, rowOf('/bin'), rowOf('/etc/conf.d'), rowOf('/empty'), NONE]) {
      expect(refusalWith({ 'directories.parent': set(confd, parent) })).toContain(
        `directories row ${confd}: its parent is not the directory that contains it`,
      );
    }
    expect(refusalWith({ 'directories.parent': set(0, rowOf('/etc')) })).toContain("the root's parent is not the root");
  });
});

describe('decodeManifest() refuses unreferenced rows', () => {
  /** One more offset, and a byte that it points to. */
  const moreOffsets = (column: Uint32Array): Uint32Array =>
    Uint32Array.from([...column, (column[column.length - 1] as number) + 1]);
  const moreBytes = (column: Uint32Array): Uint8Array => Buffer.concat([Uint8Array.from(column), Buffer.from('x')]);

  it('in targets and inline', () => {
    for (const table of ['targets', 'inline']) {
      const changes = { [`${table}.offset`]: moreOffsets, [`${table}.bytes`]: moreBytes };
      expect(refusalWith(changes)).toContain(`${table} has rows that no inode names`);
    }
  });
  it('in directories', () => {
    const changes: Changes = {
      'directories.inode': (column) => Uint32Array.from([...column, 0]),
      'directories.parent': (column) => Uint32Array.from([...column, 0]),
      'directories.first': (column) => Uint32Array.from([...column, column[column.length - 1] as number]),
    };
    expect(refusalWith(changes)).toContain('directories has rows that no inode names');
  });
});

describe('decodeManifest() and random tables', () => {
  it('refuses any column with any values changed, or serves it without a crash', () => {
    const values = fc.oneof(
      fc.constantFrom(0, 1, 2, 0xff, 0x7fffffff, PAYLOAD_INLINE, PAYLOAD_INLINE + 1, NONE - 1, NONE),
      fc.nat({ max: 40 }),
      fc.nat({ max: NONE }),
    );
    const change = fc.record({ column: fc.constantFrom(...columnNames()), row: fc.nat({ max: 200 }), value: values });
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
        let tables = sample;
        for (const { column, row, value } of changes) {
          const name = `${column[0]}.${column[1]}`;
          tables = changed(tables, {
            [name]: (cells) => cells.fill(value, row % cells.length, (row % cells.length) + 1),
          });
        }
        if (refusedOrServes(encodeManifest(tables))) accepted++;
      }),
      { numRuns: 4000 },
    );
    expect(accepted).toBeGreaterThan(200);
  });

  it('refuses any two rows swapped, or serves them without a crash', () => {
    const swap = fc.record({
      column: fc.constantFrom(...columnNames()),
      a: fc.nat({ max: 40 }),
      b: fc.nat({ max: 40 }),
    });
    fc.assert(
      fc.property(swap, ({ column, a, b }) => {
        const exchange = (values: Uint32Array): void => {
          const [i, j] = [a % values.length, b % values.length];
          [values[i], values[j]] = [values[j] as number, values[i] as number];
        };
        refusedOrServes(encodeManifest(changed(sample, { [`${column[0]}.${column[1]}`]: exchange })));
      }),
      { numRuns: 2000 },
    );
  });
});
