/** Programs see by its ctime that a file has changed. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ChangeTimes } from '../../../src/manifest/change-time.ts';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import { inodeCount, type ManifestTables } from '../../../src/manifest/tables.ts';
import { anyTree } from './arbitrary.ts';
import {
  type Attributes,
  type Body,
  buildTables,
  directory,
  file,
  inline,
  PLAIN,
  symlink,
  treeOf,
  xattr,
} from './model.ts';

const NSEC = 1_000_000_000n;

function timeOfRow(times: ChangeTimes, row: number): bigint {
  const out = { ctimeLow: 0, ctimeHigh: 0, ctimeNsec: 0 };
  times.fill(row, out);
  expect(out.ctimeNsec).toBeLessThan(1_000_000_000);
  return BigInt.asIntN(64, (BigInt(out.ctimeHigh) << 32n) | BigInt(out.ctimeLow)) * NSEC + BigInt(out.ctimeNsec);
}

function timeOf(tables: ManifestTables, path: string): bigint {
  const row = lookupPath(tables, Buffer.from(path));
  if (row < 0) throw new Error(`there is no ${path}`);
  return timeOfRow(new ChangeTimes(tables), row);
}

const mtimeOfRow = ({ inodes }: ManifestTables, row: number): bigint =>
  BigInt.asIntN(64, (BigInt(inodes.mtime[row * 2 + 1] as number) << 32n) | BigInt(inodes.mtime[row * 2] as number)) *
    NSEC +
  BigInt(inodes.mtimeNsec[row] as number);

const one = (body: Body, attributes: Partial<Attributes> = {}): bigint =>
  timeOf(buildTables(treeOf({ '/it': body }, { '/it': attributes })), '/it');

describe('the change time', () => {
  test('is within 4,097 s after mtime, in any tree, and independent of the order of reading', () => {
    fc.assert(
      fc.property(anyTree(), (tree) => {
        const tables = buildTables(tree);
        const [times, again] = [new ChangeTimes(tables), new ChangeTimes(buildTables(tree))];
        for (let row = 0; row < inodeCount(tables); row++) {
          const above = timeOfRow(times, row) - mtimeOfRow(tables, row);
          expect(above).toBeGreaterThanOrEqual(0n);
          expect(above).toBeLessThan(4097n * NSEC);
          expect(timeOfRow(again, row)).toBe(timeOfRow(times, row));
          expect(timeOfRow(times, row)).toBe(timeOfRow(times, row));
        }
      }),
      { numRuns: 200 },
    );
  });

  test.each<[string, Body, Body]>([
    ['content in an object', file('version=1'), file('version=2')],
    ['content in the image', inline('version=1'), inline('version=2')],
    ['the target of a link', symlink('a'), symlink('b')],
    ['the number of a character device', { type: 'character', device: 0x103 }, { type: 'character', device: 0x105 }],
    ['the number of a block device', { type: 'block', device: 0x103 }, { type: 'block', device: 0x105 }],
    ['the type', { type: 'fifo' }, { type: 'socket' }],
  ])('changes, also in whole seconds, when %s changes', (_what, before, after) => {
    expect(one(before)).toBe(one(before));
    expect(one(before) / NSEC).not.toBe(one(after) / NSEC);
  });

  test.each<[string, Partial<Attributes>]>([
    ['mode', { mode: 0o600 }],
    ['owner', { uid: 1 }],
    ['group', { gid: 1 }],
    ['an attribute', { xattrs: [xattr('user.a', '1')] }],
    ['the value of an attribute', { xattrs: [xattr('user.a', '2')] }],
    ['the name of an attribute', { xattrs: [xattr('user.b', '1')] }],
  ])('changes when %s changes', (_what, attributes) => {
    expect(one(file('x'), attributes)).not.toBe(one(file('x')));
    expect(one(file('x'), { xattrs: [xattr('user.a', '1')] })).not.toBe(
      one(file('x'), { xattrs: [xattr('user.a', '2')] }),
    );
  });

  test('does not depend on whether the image contains the content', () => {
    expect(one(inline('x'))).toBe(one(file('x')));
  });

  test('of a file changes when it gets another name, and stays when its neighbours change', () => {
    const alone = timeOf(buildTables(treeOf({ '/it': file('x') })), '/it');
    expect(timeOf(buildTables(treeOf({ '/it': file('x'), '/link': '/it' })), '/it')).not.toBe(alone);
    expect(timeOf(buildTables(treeOf({ '/it': file('x'), '/other': file('y') })), '/it')).toBe(alone);
  });

  test('of a directory depends on its names and their types, not on the contents of the files', () => {
    const of = (paths: Record<string, Body | string>): bigint =>
      timeOf(buildTables(treeOf({ '/d': directory, ...paths })), '/d');
    const before = of({ '/d/a': file('1'), '/d/b': file('2') });
    expect(of({ '/d/a': file('1'), '/d/b': file('3') })).toBe(before);
    expect(of({ '/d/a': file('1') })).not.toBe(before);
    expect(of({ '/d/a': file('1'), '/d/c': file('2') })).not.toBe(before);
    expect(of({ '/d/a': file('1'), '/d/b': symlink('2') })).not.toBe(before);
    expect(of({ '/d/a': file('1'), '/d/b': '/d/a' })).not.toBe(before);
    expect(of({ '/d/ab': file('1') })).not.toBe(of({ '/d/a': file('1') }));
  });

  test('matches docs/handles.md', () => {
    const times = { mtime: 1_700_000_000, mtimeNsec: 500_000_000 };
    expect(one(inline('hello\n'), { ...PLAIN, ...times })).toBe(1_700_000_857_707_296_630n);
    expect(one(symlink('../hello'), { ...PLAIN, ...times, mode: 0o777 })).toBe(1_700_003_453_996_294_879n);
    const xattrs = [xattr('user.k', 'v')];
    expect(one(inline('hello\n'), { ...PLAIN, ...times, xattrs })).toBe(1_700_000_956_667_714_410n);
    const tables = buildTables(treeOf({ '/d': directory, '/d/a': inline('1') }, { '/d': { ...times, mode: 0o755 } }));
    expect(timeOf(tables, '/d')).toBe(1_700_002_365_848_896_400n);
  });

  test('stops at the last possible second', () => {
    const tables = buildTables(treeOf({ '/it': file('x') }));
    const row = lookupPath(tables, Buffer.from('/it'));
    tables.inodes.mtime.set([0xffff_ffff, 0x7fff_ffff], row * 2);
    expect(timeOfRow(new ChangeTimes(tables), row) / NSEC).toBe(2n ** 63n - 1n);
  });
});
