import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { MOST_THREADS } from '../../../src/mount/threads/most-threads.ts';
import { INTENTS_BYTES, Intents } from '../../../src/upper/intents.ts';

const OFFSET = 4096;
const RESENT = 0x8000_0000;

let memory: ArrayBuffer;
beforeEach(() => {
  memory = new ArrayBuffer(OFFSET + INTENTS_BYTES);
});
const begun = (): Intents => new Intents(memory, OFFSET);

describe('intents', () => {
  test('do not exist at first', () => {
    expect(begun().find(0, 0)).toBeUndefined();
    expect(Intents.takeOver(memory, OFFSET).find(0, 0)).toBeUndefined();
  });

  test('are found by the number of the request, resent or not', () => {
    const intents = begun();
    intents.begin(0, 0xffff_fffe, 0x7fff_ffff, 2 ** 53 - 1, 2 ** 32);
    intents.begin(63, 4, RESENT);
    for (const high of [0x7fff_ffff, 0xffff_ffff, -1]) {
      expect(begun().find(0xffff_fffe, high)).toEqual({ a: 2 ** 53 - 1, b: 2 ** 32 });
    }
    expect(intents.find(-2, 0x7fff_ffff)).toEqual({ a: 2 ** 53 - 1, b: 2 ** 32 });
    for (const high of [0, RESENT]) expect(begun().find(4, high)).toEqual({ a: 0, b: 0 });
    expect(intents.find(4, 1)).toBeUndefined();
    expect(intents.find(5, 0)).toBeUndefined();
  });

  test('are kept until the next intent of their thread', () => {
    const intents = begun();
    intents.begin(3, 10, 0, 1, 2);
    intents.begin(4, 12, 0);
    intents.begin(3, 10, 0, 3, 4);
    expect(intents.find(10, 0)).toEqual({ a: 3, b: 4 });
    intents.begin(3, 14, 0);
    expect([10, 12, 14].map((unique) => intents.find(unique, 0) !== undefined)).toEqual([false, true, true]);
  });

  test('of the last server are kept, in any order in which threads of the next one begin', () => {
    const threads = Array.from({ length: MOST_THREADS }, (_, i) => i);
    for (const i of threads) begun().begin(i, 100 + i, 7, i, i);
    const next = Intents.takeOver(memory, OFFSET);
    for (const i of threads) next.begin(MOST_THREADS - 1 - i, 300 + i, 7);
    for (const i of threads) expect(begun().find(100 + i, 7)).toEqual({ a: i, b: i });
    for (const i of threads) expect(begun().find(300 + i, 7)).toEqual({ a: 0, b: 0 });
  });

  test('outlive six servers that died', () => {
    begun().begin(0, 2, 0, 8, 9);
    for (let server = 0; server < 5; server++) {
      const intents = Intents.takeOver(memory, OFFSET);
      for (let i = 0; i < MOST_THREADS; i++) intents.begin(i, 1000 * server + 10 + i, 1);
    }
    expect(Intents.takeOver(memory, OFFSET).find(2, 0)).toEqual({ a: 8, b: 9 });
  });

  test('of a request that two servers began are those of the first one', () => {
    begun().begin(0, 2, 0, 8, 9);
    Intents.takeOver(memory, OFFSET).begin(0, 2, RESENT);
    const third = Intents.takeOver(memory, OFFSET);
    expect(third.find(2, 0)).toEqual({ a: 8, b: 9 });
    third.begin(5, 2, 0, 10, 11);
    expect(Intents.takeOver(memory, OFFSET).find(2, 0)).toEqual({ a: 8, b: 9 });
  });

  test('are those of the second server, if the first one had noted nothing', () => {
    begun().begin(0, 2, 0);
    Intents.takeOver(memory, OFFSET).begin(0, 2, RESENT, 8, 9);
    expect(begun().find(2, 0)).toEqual({ a: 8, b: 9 });
    expect(Intents.takeOver(memory, OFFSET).find(2, 0)).toEqual({ a: 8, b: 9 });
  });

  test('are forgotten at the beginning of another mount, because numbers of requests start again', () => {
    begun().begin(0, 2, 0);
    Intents.takeOver(memory, OFFSET).begin(0, 4, 0);
    const other = Intents.create(memory, OFFSET);
    expect([2, 4].map((unique) => other.find(unique, 0))).toEqual([undefined, undefined]);
  });

  test('write to their part of the memory only', () => {
    memory = new ArrayBuffer(OFFSET + INTENTS_BYTES + 4096);
    const intents = begun();
    for (let i = 0; i < MOST_THREADS; i++) intents.begin(i, 0xffff_ffff, 0x7fff_ffff, 2 ** 53 - 1, 2 ** 53 - 1);
    for (let i = 0; i < 9; i++) Intents.takeOver(memory, OFFSET).begin(0, i, 0);
    expect(new Uint8Array(memory, 0, OFFSET).every((byte) => byte === 0)).toBe(true);
    expect(new Uint8Array(memory, OFFSET + INTENTS_BYTES).every((byte) => byte === 0)).toBe(true);
    for (const thread of [-1, MOST_THREADS, Number.NaN]) expect(() => intents.begin(thread, 1, 0)).toThrow('at most');
  });

  test('in random bytes are read, taken over and replaced without a hang', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.integer()), fc.integer(), (garbage, unique) => {
        const words = new Int32Array(memory);
        for (const i of words.keys()) words[i] = garbage.next().value as number;
        const intents = Intents.takeOver(memory, OFFSET);
        intents.begin(1, unique, 0, 5, 6);
        expect(intents.find(unique, 0)).toEqual({ a: 5, b: 6 });
      }),
      { numRuns: 20 },
    );
  });
});
