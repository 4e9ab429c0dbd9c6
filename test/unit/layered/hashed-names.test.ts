import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { HashedNames, hashOf } from '../../../src/layered/hashed-names.ts';

const listed = (names: HashedNames, from = 0): string[] => {
  const found: string[] = [];
  for (let i = from; i < names.length; i++) found.push(Buffer.from(names.name(i)).toString('hex'));
  return found;
};
const of = (names: readonly Uint8Array[]): HashedNames =>
  HashedNames.of((add) => {
    for (const name of names) add(name);
  });

test('names are in the order of their hashes, with any bytes and lengths of up to 255', () => {
  const name = fc.uint8Array({ minLength: 1, maxLength: 255 });
  fc.assert(
    fc.property(fc.array(name, { maxLength: 200 }), fc.nat(), (names, pick) => {
      const hashed = of(names);
      const expected = names.map((bytes, i) => ({ hash: hashOf(bytes), i, text: Buffer.from(bytes).toString('hex') }));
      expected.sort((a, b) => a.hash - b.hash || a.i - b.i);
      expect(listed(hashed)).toEqual(expected.map(({ text }) => text));
      expect(expected.map((_, i) => hashed.hash(i))).toEqual(expected.map(({ hash }) => hash));
      if (names.length === 0) return;
      const { hash } = expected[pick % expected.length] as { hash: number };
      const first = expected.findIndex((one) => one.hash >= hash);
      expect([hashed.firstFrom(hash), hashed.firstFrom(hash + 1) > first]).toEqual([first, true]);
    }),
  );
});

test('no names', () => {
  const names = of([]);
  expect([names.length, names.firstFrom(0)]).toEqual([0, 0]);
});

test('hashes are integers of 50 bits, and differ', () => {
  const hashes = Array.from({ length: 100_000 }, (_, i) => hashOf(Buffer.from(`file-${i}`)));
  expect(new Set(hashes).size).toBe(hashes.length);
  for (const hash of hashes) if (!Number.isInteger(hash) || hash < 0 || hash >= 2 ** 50) expect(hash).toBe('50 bits');
});

setFlagsFromString('--expose-gc');
/** Frees what is not used any more: how much of it is left otherwise depends on the version of node. */
const collectGarbage = runInNewContext('gc') as () => void;

test('many names take less than 64 bytes each', () => {
  collectGarbage();
  const before = process.memoryUsage();
  const names = HashedNames.of((add) => {
    for (let i = 0; i < 200_000; i++) add(Buffer.from(`file-${i}`));
  });
  collectGarbage();
  const now = process.memoryUsage();
  expect(names.length).toBe(200_000);
  expect(now.arrayBuffers - before.arrayBuffers).toBeLessThan(200_000 * 64);
  expect(Buffer.from(names.name(names.firstFrom(hashOf(Buffer.from('file-777'))))).toString()).toBe('file-777');
});
