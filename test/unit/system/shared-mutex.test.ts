import { describe, expect, test } from 'vitest';
import { SharedMutex } from '../../../src/system/shared-mutex.ts';
import { explore, loadStepwise, type Program, type Stepwise } from '../../support/interleavings.ts';

// in test/e2e/threads.test.ts real threads compete for a mutex

function mutexAt(index: number): { words: Int32Array; mutex: SharedMutex } {
  const words = new Int32Array(new SharedArrayBuffer(16));
  return { words, mutex: new SharedMutex(words, index) };
}

describe('SharedMutex.hold()', () => {
  test('returns the result of the section', () => {
    expect(mutexAt(0).mutex.hold(() => 'result')).toBe('result');
  });

  test('is held during the section and free after it, in its own word only', () => {
    const { words, mutex } = mutexAt(2);
    const during = mutex.hold(() => [...words]);
    expect(during).toEqual([0, 0, 1, 0]);
    expect([...words]).toEqual([0, 0, 0, 0]);
  });

  test('is free after a section that throws, and passes the error on', () => {
    const { words, mutex } = mutexAt(0);
    expect(() =>
      mutex.hold(() => {
        throw new Error('of the section');
      }),
    ).toThrow('of the section');
    expect(words[0]).toBe(0);
    expect(mutex.hold(() => 1)).toBe(1);
  });

  test('can be taken again and again, by several objects over one word', () => {
    const { words, mutex } = mutexAt(1);
    const other = new SharedMutex(words, 1);
    let sum = 0;
    for (let i = 0; i < 1000; i++) sum += (i % 2 ? mutex : other).hold(() => i);
    expect(sum).toBe(499_500);
  });

  test('is free after a section during which another thread began to wait', () => {
    const { words, mutex } = mutexAt(0);
    mutex.hold(() => Atomics.store(words, 0, 2)); // the value that a waiter leaves in the word
    expect(words[0]).toBe(0);
  });
});

test('every interleaving of three threads: one at a time is in, and all get in', async () => {
  interface StepwiseMutex {
    lock: Stepwise<[], void>;
    unlock: Stepwise<[], void>;
  }
  const path = new URL('../../../src/system/shared-mutex.ts', import.meta.url).pathname;
  const stepwise = await loadStepwise<{ SharedMutex: new (words: Int32Array, index: number) => StepwiseMutex }>(path);

  function* enter(mutex: StepwiseMutex, words: Int32Array, times: number): Program<void> {
    for (let i = 0; i < times; i++) {
      yield* mutex.lock();
      // two operations, so that another thread can come between them
      expect(yield ['add', words, 1, 1]).toBe(0);
      yield ['sub', words, 1, 1];
      yield* mutex.unlock();
    }
  }

  for (const times of [
    [2, 2],
    [1, 1, 1],
  ]) {
    const { states } = explore(() => {
      const words = new Int32Array(new SharedArrayBuffer(8));
      const programs = times.map((count) => enter(new stepwise.SharedMutex(words, 0), words, count));
      return { words, programs, check: () => expect([...words]).toEqual([0, 0]) };
    });
    expect(states).toBeGreaterThan(100);
  }
});
