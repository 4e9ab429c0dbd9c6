/** Files without data that have lost their size, as after a power failure on btrfs. */
import { readdirSync, statSync, truncateSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isRoot } from '../../support/root.ts';
import { directory, file } from '../manifest/model.ts';
import { useScratch } from '../store/scratch.ts';
import { type Layered, type LayerOptions, ownTree, useLayers } from './layered-fixture.ts';

const at = useScratch();
const tree = ownTree({
  '/a': directory,
  '/a/f': file('content of f'),
  '/a/h': file('content of h'),
  '/b': directory,
  '/b/h': '/a/h',
});
const { layered, withoutTable } = useLayers(tree, at);

/** A layer with the files /a/moved and /a/h without data, one of which has lost its size. `path` is the latter. */
function lost(which: '/a/moved' | '/a/h', options?: LayerOptions): { one: Layered; path: string } {
  const before = layered();
  before.rename('/a/f', '/a/moved');
  before.change('/a/h', { mode: 0o600 });
  const index = join(before.dir, 'w/index');
  const path = which === '/a/h' ? join(index, readdirSync(index)[0] as string) : join(before.dir, 'u', which);
  expect(statSync(path)).toMatchObject({ size: 12 });
  truncateSync(path, 0);
  utimesSync(path, 1, 2);
  return { one: withoutTable(before, options), path };
}

// an ordinary user has no files without data
describe.runIf(isRoot)('a file without data and without size', () => {
  test.each(['/a/moved', '/a/h'] as const)(
    'has those of its lower file, and gets its size in the layer: %s',
    (name) => {
      const { one, path } = lost(name);
      expect(one.stat(name)).toMatchObject({ size: 12, mtimeLow: 2 });
      expect(one.read(name)).toBe(name === '/a/h' ? 'content of h' : 'content of f');
      expect(statSync(path)).toMatchObject({ size: 12, mtimeMs: 2000 });
    },
  );

  test('has it in a mount that writes nothing', () => {
    const { one, path } = lost('/a/moved', { settings: { readOnly: true } });
    expect(one.read('/a/moved')).toBe('content of f');
    expect(statSync(path).size).toBe(0);
  });

  test('is copied up with all its data when it is written', () => {
    const { one, path } = lost('/a/moved');
    truncateSync(path, 0);
    one.overwrite('/a/moved', 'C');
    expect(one.read('/a/moved')).toBe('Content of f');
  });

  test('stays empty if it has data, and was emptied', () => {
    const before = layered();
    before.change('/a/f', { mode: 0o600 });
    before.change('/a/f', { size: 0 });
    expect(withoutTable(before).stat('/a/f').size).toBe(0);
  });
});
