import { closeSync, mkdirSync, openSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { S_IFDIR } from '../../../src/base/stat-bits.ts';
import { decodeIdentity, encodeIdentity, LayerXattrNames, readLayerXattrs } from '../../../src/layered/layer-xattrs.ts';
import { setXattrAt } from '../../../src/system/xattr-calls.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();

test('an identity is 12 bytes, the id first', () => {
  expect(Buffer.from(encodeIdentity({ id: 0x5_1234_5678_9abc, generation: 7 })).toString('hex')).toBe(
    'bc9a7856341205000700' + '0000',
  );
});

test('an identity is read as it was written', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 2 ** 52 - 1 }), fc.nat(0xffff_ffff), (id, generation) => {
      expect(decodeIdentity(encodeIdentity({ id, generation }))).toEqual({ id, generation });
    }),
  );
});

test('other bytes are none', () => {
  for (const bytes of [[], [1], new Array<number>(12).fill(255), new Array<number>(12).fill(0)]) {
    expect(decodeIdentity(Uint8Array.from(bytes))).toBeUndefined();
  }
});

test('the mark of fuse-overlayfs for an opaque directory is read in a layer of an ordinary user', () => {
  mkdirSync(at('opaque'));
  const fd = openSync(at('opaque'), 'r');
  const opacity = (userxattr: boolean): unknown =>
    readLayerXattrs(new LayerXattrNames(userxattr), fd, Uint8Array.of(), S_IFDIR);
  expect(opacity(true)).toMatchObject({ opacity: 'merged' });
  expect(setXattrAt(fd, Uint8Array.of(), Buffer.from('user.fuseoverlayfs.opaque'), Buffer.from('y'), 0)).toBe(0);
  expect(opacity(true)).toMatchObject({ opacity: 'opaque' });
  expect(opacity(false)).toMatchObject({ opacity: 'merged' });
  closeSync(fd);
});
