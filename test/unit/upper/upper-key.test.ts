import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, renameSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EBADF } from '../../../src/base/errno.ts';
import { upperKey } from '../../../src/upper/upper-key.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();

function keyOf(path: string): Uint8Array {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return upperKey(fd) as Uint8Array;
  } finally {
    closeSync(fd);
  }
}

test('the key of a directory stays the same if its name and its contents change', () => {
  mkdirSync(at('u'));
  const key = keyOf(at('u'));
  expect(key).toHaveLength(32);
  writeFileSync(join(at('u'), 'file'), '');
  renameSync(at('u'), at('renamed'));
  expect(keyOf(at('renamed'))).toEqual(key);
});

test('a copy has another key, and so has a directory that replaces the first one', () => {
  mkdirSync(at('original'));
  const key = keyOf(at('original'));
  execFileSync('cp', ['-a', at('original'), at('copy')]);
  expect(keyOf(at('copy'))).not.toEqual(key);
  rmdirSync(at('original'));
  // the new directory may get the same inode number
  mkdirSync(at('original'));
  expect(keyOf(at('original'))).not.toEqual(key);
});

test('an error is a value', () => {
  expect(upperKey(-1)).toBe(EBADF);
});
