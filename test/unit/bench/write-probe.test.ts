import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WRITE_LOOPS } from '../../../bench/write-probe.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cfs-write-probe-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const loop = (name: string, ...args: readonly string[]): { count: number; bytes: number } => {
  const make = WRITE_LOOPS[name];
  if (make === undefined) throw new Error(`no loop ${name}`);
  return make(...args)();
};

/** Names of the files in the first two directories. */
const names = (): string[] => [...readdirSync(join(root, 'd00000')), ...readdirSync(join(root, 'd00001'))];

describe('the loops over small files', () => {
  beforeEach(() => expect(loop('create', root, '120', '10')).toEqual({ count: 120, bytes: 1200 }));

  test('create makes files in directories of a hundred', () => {
    expect(readdirSync(root)).toEqual(['d00000', 'd00001']);
    expect(readdirSync(join(root, 'd00001'))).toHaveLength(20);
    expect(readFileSync(join(root, 'd00001/f0000119'), 'utf8')).toBe('xxxxxxxxxx');
  });

  test('create refuses files that exist', () => {
    expect(() => loop('create', root, '120', '10')).toThrow('EEXIST');
  });

  test('overwrite cuts files off, and makes none', () => {
    expect(loop('overwrite', root, '120', '4')).toEqual({ count: 120, bytes: 480 });
    expect(readFileSync(join(root, 'd00000/f0000000'), 'utf8')).toBe('xxxx');
    expect(() => loop('overwrite', root, '121', '4')).toThrow('ENOENT');
  });

  test('read and lstat look at every file', () => {
    expect(loop('read', root, '120', '10')).toEqual({ count: 120, bytes: 1200 });
    expect(loop('lstat', root, '120')).toEqual({ count: 120, bytes: 0 });
    expect(() => loop('lstat', root, '121')).toThrow('ENOENT');
  });

  test('rename gives each file another name', () => {
    expect(loop('rename', root, '120')).toEqual({ count: 120, bytes: 0 });
    expect(names()).toHaveLength(120);
    expect(names().every((name) => name.startsWith('g'))).toBe(true);
  });

  test('link gives each file one more name, and unlink removes the first', () => {
    expect(loop('link', root, '120')).toEqual({ count: 120, bytes: 0 });
    expect(statSync(join(root, 'd00000/f0000007')).nlink).toBe(2);
    expect(loop('unlink', root, '120')).toEqual({ count: 120, bytes: 0 });
    expect(names()).toHaveLength(120);
    expect(statSync(join(root, 'd00000/g0000007')).nlink).toBe(1);
  });
});

describe('the loops over one file', () => {
  test('append makes a file of many writes', () => {
    expect(loop('append', join(root, 'large'), '100', '512')).toEqual({ count: 100, bytes: 51_200 });
    expect(statSync(join(root, 'large')).size).toBe(51_200);
  });

  test('scatter writes whole blocks and keeps the size', () => {
    loop('append', join(root, 'large'), '16', '4096');
    expect(loop('scatter', join(root, 'large'), '50')).toEqual({ count: 50, bytes: 204_800 });
    expect(statSync(join(root, 'large')).size).toBe(65_536);
  });
});
