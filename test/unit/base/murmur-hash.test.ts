import { expect, test } from 'vitest';
import { finishHash, hashBytes, hashWord } from '../../../src/base/murmur-hash.ts';

const hashOf = (text: string): number => finishHash(hashBytes(0, Buffer.from(text)), text.length);

test('is MurmurHash3_x86_32 with seed 0 for whole words', () => {
  expect(hashOf('')).toBe(0);
  expect(hashOf('test')).toBe(0xba6bd213);
  expect(hashOf('\0\0\0\0')).toBe(0x2362f9de);
  expect(finishHash(hashWord(0, 0x74736574), 4)).toBe(0xba6bd213);
});

test('pads an incomplete last word with zeros', () => {
  expect(hashBytes(0, Buffer.from('tests'))).toBe(hashBytes(0, Buffer.from('tests\0\0\0')));
  expect(hashOf('abc')).not.toBe(hashOf('abd'));
});
