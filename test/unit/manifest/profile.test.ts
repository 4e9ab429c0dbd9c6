/** Profiles: any path comes out as it was, and other files are refused. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import { encodeProfile, objectsOfPaths, parseProfile, pathsOfRows } from '../../../src/manifest/profile.ts';
import { buildTables, directory, file, treeOf } from './model.ts';

const text = (path: Uint8Array): string => Buffer.from(path).toString('latin1');
const parse = (content: string): string[] => parseProfile(Buffer.from(content, 'latin1'), 'FILE').map(text);

test('paths of any bytes come out as they were, each once, in their order', () => {
  const bytes = fc.uint8Array({ maxLength: 20 }).map((rest) => Buffer.concat([Buffer.from('/'), rest]));
  fc.assert(
    fc.property(fc.array(bytes), (paths) => {
      const parsed = parseProfile(encodeProfile(paths), 'FILE').map(text);
      expect(parsed).toEqual([...new Set(paths.map(text))]);
    }),
  );
});

test('a path is a line, without control characters', () => {
  const profile = text(encodeProfile([Buffer.from('/a b'), Buffer.from('/x\ny\\z\x7f'), Buffer.from([0x2f, 0xff])]));
  expect(profile).toBe('cfs-profile 1\n/a b\n/x\\x0ay\\x5cz\\x7f\n/\xff\n');
});

test('lines of people: comments, empty lines, no end of the last line', () => {
  expect(parse('cfs-profile 1\n# the shell\n\n/bin/sh\n/bin/sh\n/etc/passwd')).toEqual(['/bin/sh', '/etc/passwd']);
  expect(parse('cfs-profile 1\n')).toEqual([]);
  // a crash of the machine may leave an empty file
  expect(parse('')).toEqual([]);
});

test.each([
  ['/bin/sh\n', 'its first line is not "cfs-profile 1"'],
  ['cfs-profile 2\n/a\n', 'its first line is not'],
  ['cfs-profile 1\n/a\nb\n', 'line 3 is not a path'],
  ['cfs-profile 1\n/a\\n\n', 'line 2 is not a path'],
  ['cfs-profile 1\n/a\\x0\n', 'line 2 is not a path'],
  [`cfs-profile 1\n${'#'.repeat(64 << 20)}`, 'it is too large'],
])('another file is refused', (content, reason) => {
  expect(() => parse(content)).toThrow(`FILE is not a profile: ${reason}`);
});

describe('in an image', () => {
  const names = Array.from({ length: 9 }, (_, i) => `/d/f${i}`);
  const tables = buildTables(
    treeOf({ '/d': directory, ...Object.fromEntries(names.map((name) => [name, file(name)])) }),
  );
  const rows = names.map((name) => lookupPath(tables, Buffer.from(name)));

  test('the paths of a few rows, and of many', () => {
    for (const some of [rows.slice(0, 2).reverse(), [...rows].reverse()]) {
      expect(pathsOfRows(tables, some).map((path) => lookupPath(tables, path))).toEqual(some);
    }
  });

  test('paths of directories, and those that are not there, are left out', () => {
    const paths = ['/d', '/', '/gone', '/d/f0/x', ''].map((path) => Buffer.from(path));
    expect(objectsOfPaths(tables, paths)).toEqual([]);
  });
});
