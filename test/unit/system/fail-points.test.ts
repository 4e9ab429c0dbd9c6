import { mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { EDQUOT, EIO, ENOSPC } from '../../../src/base/errno.ts';
import { useScratch } from '../store/scratch.ts';

// test/e2e/store-faults.test.ts tests the calls of the store

const at = useScratch();
const THREAD = isMainThread ? 'main' : 'worker';

// the variable is read when the modules are loaded
process.env['CFS_FAIL_UPPER_AT'] = 'nowhere';
const { upperFailPoints, returning } = await import('../../../src/system/fail-points.ts');
const { makeDirectoryAt, removeDirectoryAt } = await import('../../../src/system/directory-calls.ts');
const { makeDirectoryAt: makeDirectoryOfStore } = await import('../../../src/system/file-calls.ts');

mkdirSync(at('directory'));
const dir = openSync(at('directory'), 'r');
const name: Uint8Array = Buffer.from('name');

test('calls that change the upper layer fail in place of doing something, each once', () => {
  for (const [fault, errno] of Object.entries({ ENOSPC, EDQUOT, anything: EIO })) {
    upperFailPoints.failAt(`${THREAD}:2:${fault}`);
    expect(makeDirectoryAt(dir, name, 0o700)).toBe(0);
    expect(removeDirectoryAt(dir, name)).toBe(errno);
    expect(removeDirectoryAt(dir, name)).toBe(0);
  }
  upperFailPoints.failAt('nowhere');
  expect(readdirSync(at('directory'))).toEqual([]);
});

test('they are listed by name', () => {
  upperFailPoints.failAt(`trace:${at('trace')}`);
  makeDirectoryAt(dir, name, 0o700);
  removeDirectoryAt(dir, name);
  upperFailPoints.failAt('nowhere');
  expect(readFileSync(at('trace'), 'utf8')).toBe(`${THREAD} mkdirat\n${THREAD} unlinkat AT_REMOVEDIR\n`);
});

test('calls of the store are not counted, and are the functions themselves if $CFS_FAIL_AT is not set', () => {
  const call = (): 0 => 0;
  expect(returning('call', call)).toBe(call);
  expect(upperFailPoints.returning('call', call)).not.toBe(call);
  upperFailPoints.failAt(`${THREAD}:1:EIO`);
  expect(makeDirectoryOfStore(dir, name, 0o700)).toBe(0);
  expect(removeDirectoryAt(dir, name)).toBe(EIO);
  expect(removeDirectoryAt(dir, name)).toBe(0);
});
