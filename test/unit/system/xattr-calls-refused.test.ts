/** xattr-calls.ts without the calls of Linux 6.13: on an older kernel, or with a filter of a container. */
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import { beforeEach, expect, test, vi } from 'vitest';
import { ENODATA, ENOSYS, EPERM, type Errno } from '../../../src/base/errno.ts';
import type { NativeFunction } from '../../../src/system/libc.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
mkdirSync(at('directory'));
writeFileSync(at('directory', 'file'), '');
const dir = openSync(at('directory'), 'r');
const file = bytes('file');
const xattr = bytes('user.a');

let refusal: Errno = ENOSYS;
let refused = 0;

vi.mock('../../../src/system/libc.ts', async (original) => {
  const libc = await original<typeof import('../../../src/system/libc.ts')>();
  const native = (prototype: string): NativeFunction =>
    prototype.startsWith('long syscall(')
      ? () => {
          refused++;
          return refusal;
        }
      : libc.native(prototype);
  return { ...libc, native };
});

beforeEach(() => {
  vi.resetModules();
  refused = 0;
});

const load = (): Promise<typeof import('../../../src/system/xattr-calls.ts')> =>
  import('../../../src/system/xattr-calls.ts');

test.each([ENOSYS, EPERM])('the path of the file is used after the first %i', async (errno) => {
  refusal = errno;
  const { getXattrAt, listXattrsAt, removeXattrAt, setXattrAt } = await load();
  expect(setXattrAt(dir, file, xattr, bytes('value'), 0)).toBe(0);
  expect(refused).toBe(1);
  expect(getXattrAt(dir, file, xattr)).toEqual(bytes('value'));
  expect(Buffer.from(listXattrsAt(dir, file) as Uint8Array).toString()).toContain('user.a\0');
  expect(removeXattrAt(dir, file, xattr)).toBe(0);
  expect(removeXattrAt(dir, file, xattr)).toBe(ENODATA);
  expect(refused).toBe(1);
});

test('EPERM of the file system itself does not count as a refusal of the calls', async () => {
  refusal = EPERM;
  const { setXattrAt } = await load();
  const fifoDir = openSync('/dev', 'r');
  // user.* on a device
  for (const times of [1, 2]) {
    expect(setXattrAt(fifoDir, bytes('null'), xattr, bytes('value'), 0)).toBe(EPERM);
    expect(refused).toBe(times);
  }
});
