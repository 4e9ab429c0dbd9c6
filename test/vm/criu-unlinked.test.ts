/**
 * CRIU dumps processes with unlinked files of a writable mount, and restores them in a later mount, as in criu.test.ts.
 * test/vm/criu/unlinked/run is the script in the virtual machine, which runs before the first test.
 */
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { compile, writeTree } from './criu/tree.ts';
import { copyProject, runMachine } from './machine.ts';
import { Results } from './results.ts';

const scratch = useScratch();
const payload = scratch.at('payload');
let results: Results;

beforeAll(async () => {
  mkdirSync(payload);
  const source = scratch.at('source');
  writeTree(source, 1);
  await scratch.pack(source, { store: join(payload, 'store'), image: join(payload, 'v1.cfs') });
  for (const guest of ['guest', 'unlinked']) {
    cpSync(join(import.meta.dirname, 'criu', guest), payload, { recursive: true, force: true });
  }
  compile(join(payload, 'bin/unlinker'), 'unlinker.c');
  copyProject(join(payload, 'cfs'));
  const { lines } = await runMachine(payload, scratch.path);
  if (process.env['CFS_DEBUG'] === '1') console.log(lines.join('\n'));
  results = new Results(lines);
});

/** "what property" -> value */
const seen = (name: string, when: string): Record<string, string> => results.map(name, when);

function propertyOf(name: string, when: string, property: string): Record<string, string | undefined> {
  const entries = Object.entries(seen(name, when)).filter(([key]) => key.endsWith(` ${property}`));
  return Object.fromEntries(entries.map(([key, value]) => [key.slice(0, -property.length - 1), value]));
}

const FILES = ['linked', 'gone', 'shared', 'nameless', 'huge', 'image'];

test('each unmount leaves no daemon and no mount', () => {
  expect(results.rows('unmount')).toEqual([
    ['', '0'],
    ['', '0'],
  ]);
  expect(results.rows('log')).toEqual([]);
});

describe('a process whose unlinked files were made linkable', () => {
  test('has files with one link, so that CRIU gives them names', () => {
    const links = { linked: '1', gone: '0', shared: '0', nameless: '0', huge: '0', image: '0', directory: '0' };
    expect(propertyOf('prepared', 'before', 'links')).toEqual(links);
    const linkable = { linked: '1', gone: '1', shared: '1', nameless: '1', huge: '1', image: '1', directory: '0' };
    expect(propertyOf('prepared', 'prepared', 'links')).toEqual(linkable);
    expect(results.rows('prepared', 'dump-error')).toEqual([]);
    expect(results.value('prepared', 'dump')).toBe('0');
    expect(results.value('prepared', 'names-dumped')).toMatch(/link_remap\.\d+/);
  });

  test('has no file of 1 GiB in its dump', () => {
    expect(Number(results.value('prepared', 'size'))).toBeLessThan(2000);
  });

  test('is dumped again and again while it goes on, as with a file that has its name', () => {
    for (const name of ['huge-named', 'huge-unlinked']) {
      expect(results.rows(name, 'timed-dump-error')).toEqual([]);
      expect(results.rows(name, 'timed-dump').map(([status]) => status)).toEqual(['0', '0', '0']);
    }
  });

  test('continues in a later mount with the same inodes, at its offsets, and leaves no names', () => {
    expect(results.value('prepared', 'check')).toBe('0');
    expect(results.rows('prepared', 'restore-again-error')).toEqual([]);
    expect(results.value('prepared', 'restore-again')).toBe('0');
    const before = seen('prepared', 'before');
    const after = seen('prepared', 'after-again');
    // a removed directory cannot be linked: CRIU makes another one
    const { 'directory ino': removed, ...others } = before;
    expect(after).toMatchObject(others);
    expect(after['directory ino']).not.toBe(removed);
    expect(FILES.map((name) => after[`${name} offset`])).toEqual(FILES.map(() => '3'));
    expect(after['shared mappings']).toBe('shared');
    expect(results.value('prepared', 'names-restored')).toBe('linked other ');
  });
});

describe('a process whose unlinked files were not made linkable', () => {
  test('has other inodes after the restore, except for a file with another name', () => {
    expect(results.value('ghost', 'dump')).toBe('0');
    expect(results.value('ghost', 'restore-again')).toBe('0');
    const [before, after] = [propertyOf('ghost', 'before', 'ino'), propertyOf('ghost', 'after-again', 'ino')];
    expect(after['linked']).toBe(before['linked']);
    for (const name of ['gone', 'shared', 'nameless']) expect(after[name], name).not.toBe(before[name]);
  });

  test('is not dumped if one is large', () => {
    expect(results.value('huge-ghost', 'dump')).toBe('1');
    expect(results.rows('huge-ghost', 'dump-error').flat().join('\n')).toContain('ghost file');
  });
});

test('cleanup removes the names of a dump that is not restored', () => {
  expect(results.value('left', 'names-dumped')).toMatch(/^link_remap\.\d+ $/);
  expect(results.value('left', 'names-cleaned')).toBe('');
});
