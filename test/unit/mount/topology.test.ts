import { beforeEach, describe, expect, test } from 'vitest';
import { digestContent } from '../../../src/base/digest.ts';
import { objectOf } from '../../../src/manifest/lookup.ts';
import { Topology, type Verification } from '../../../src/mount/topology.ts';
import { LARGE, smallTree } from '../fs/image-fixture.ts';
import { file, treeOf } from '../manifest/model.ts';
import { rowOf, ToldRepository, tablesOf } from './identity-fixture.ts';

const tables = tablesOf(smallTree);
const NOT_YET = { mode: 'whole', proofOf: () => undefined, isReadByBlocks: () => false } as const;
let first: ToldRepository;
let second: ToldRepository;

beforeEach(() => {
  first = new ToldRepository('/first');
  second = new ToldRepository('/second');
});

const placeOf = (path: string, verification: Verification = NOT_YET): ReturnType<Topology['placeOf']> =>
  new Topology(tables, [first, second], verification).placeOf(rowOf(tables, path));

describe('placeOf()', () => {
  test.each(['/', '/bin', '/etc/current', '/null', '/disk', '/fifo', '/socket'])('is undefined for %s', (path) => {
    expect(placeOf(path)).toBeUndefined();
    expect(first.looks + second.looks).toBe(0);
  });

  test.each(['/etc/conf.d/a', '/empty'])('is the image for %s, which is verified as a whole', (path) => {
    for (const mode of ['whole', 'read', 'off'] as const) {
      const verification: Verification = mode === 'whole' ? NOT_YET : { mode };
      expect(placeOf(path, verification)).toEqual({ object: undefined, source: 0, holders: [0], verified: 'yes' });
    }
    expect(first.looks + second.looks).toBe(0);
  });

  const object = { hash: 'blake3', digest: Uint8Array.from(digestContent('blake3', LARGE).digest) };

  test('names the object, and no source if no repository has it', () => {
    expect(placeOf('/bin/tool')).toEqual({ object, source: -1, holders: [], verified: 'no' });
    expect(placeOf('/bin/tool', { mode: 'read' })).toMatchObject({ source: -1, holders: [], verified: 'reading' });
    expect(placeOf('/bin/tool', { mode: 'off' })).toMatchObject({ source: -1, holders: [], verified: 'off' });
  });

  test('is the same for all names of a file', () => {
    first.put(LARGE);
    expect(placeOf('/bin/also-tool')).toEqual(placeOf('/bin/tool'));
  });

  test('names all repositories that have it, and the first of them while nothing is verified', () => {
    second.put(LARGE);
    expect(placeOf('/bin/tool')).toMatchObject({ source: 2, holders: [2], verified: 'no' });
    first.put(LARGE);
    expect(placeOf('/bin/tool')).toMatchObject({ source: 1, holders: [1, 2], verified: 'no' });
    expect(placeOf('/bin/tool', { mode: 'read' })).toMatchObject({ source: 1, holders: [1, 2], verified: 'reading' });
    expect(placeOf('/bin/tool', { mode: 'off' })).toMatchObject({ source: 1, holders: [1, 2], verified: 'off' });
  });

  test('names the repository whose copy was verified, even if another is searched first', () => {
    first.put(LARGE, { ino: 1 });
    second.put(LARGE, { ino: 2 });
    for (const [proof, verified] of [
      ['hashed', 'yes'],
      ['measured', 'fsverity'],
    ] as const) {
      const verification: Verification = {
        mode: 'whole',
        proofOf: (_, { ino }) => (ino === 2 ? proof : undefined),
        isReadByBlocks: () => true,
      };
      expect(placeOf('/bin/tool', verification)).toMatchObject({ source: 2, holders: [1, 2], verified });
    }
  });

  test('reports that each block of a copy that is read by blocks is verified when it is read', () => {
    second.put(LARGE);
    const verification: Verification = { ...NOT_YET, isReadByBlocks: (repository) => repository === 1 };
    expect(placeOf('/bin/tool', verification)).toMatchObject({ source: 2, holders: [2], verified: 'reading' });
    first.put(LARGE);
    expect(placeOf('/bin/tool', verification)).toMatchObject({ source: 1, holders: [1, 2], verified: 'no' });
  });

  test('does not accept another size, or a file that is not regular, as a copy', () => {
    first.put(LARGE, { size: LARGE.length - 1 });
    second.put(LARGE, { isFile: false });
    const verification: Verification = { ...NOT_YET, mode: 'whole', proofOf: () => 'hashed' };
    expect(placeOf('/bin/tool', verification)).toEqual({ object, source: -1, holders: [], verified: 'no' });
  });

  test('has what is known of the object in remote repositories', () => {
    const known = { cache: 2, repositories: [{ url: 'https://example.org/', map: 'known', place: 'pack' }] } as const;
    const asked: number[] = [];
    const topology = new Topology(tables, [first, second], NOT_YET, undefined, ({ index }) => {
      asked.push(index);
      return known;
    });
    expect(topology.placeOf(rowOf(tables, '/bin/tool'))?.remote).toEqual(known);
    expect(topology.placeOf(rowOf(tables, '/etc/conf.d/a'))?.remote).toBeUndefined();
    expect(asked).toEqual([objectOf(tables, rowOf(tables, '/bin/tool'))]);
  });

  test('looks once at each repository', () => {
    first.put(LARGE);
    placeOf('/bin/tool');
    expect([first.looks, second.looks]).toEqual([1, 1]);
  });

  test('names the digest by the hash of the image', () => {
    const content = Buffer.alloc(5000, 7);
    const other = tablesOf(treeOf({ '/a': file(content) }, {}, 'fsverity-sha256'));
    const place = new Topology(other, [], NOT_YET).placeOf(rowOf(other, '/a'));
    const { digest } = digestContent('fsverity-sha256', content);
    expect(place?.object).toEqual({ hash: 'fsverity-sha256', digest: Uint8Array.from(digest) });
  });
});
