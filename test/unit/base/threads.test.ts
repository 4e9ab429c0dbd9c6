import { describe, expect, test } from 'vitest';
import { CfsError } from '../../../src/base/error.ts';
import { startThreads, threadError } from '../../../src/base/threads.ts';

const noRoom = Object.assign(new Error('EAGAIN'), { code: 'ERR_WORKER_INIT_FAILED' });

describe('startThreads()', () => {
  const startingAtMost = (most: number) => (thread: number) => {
    if (thread >= most) throw noRoom;
    return thread;
  };

  test('starts as many threads as possible', () => {
    expect(startThreads(4, startingAtMost(9))).toEqual([0, 1, 2, 3]);
    expect(startThreads(4, startingAtMost(2))).toEqual([0, 1]);
  });

  test('reports the reason if it cannot start any', () => {
    expect(() => startThreads(4, startingAtMost(0))).toThrow(/^Cannot start another thread: EAGAIN$/);
  });

  test('hides no other error', () => {
    const bug = new Error('a bug');
    expect(() =>
      startThreads(4, (thread) => {
        if (thread === 2) throw bug;
      }),
    ).toThrow(bug);
    expect(threadError(bug)).toBe(bug);
    expect(threadError(noRoom)).toBeInstanceOf(CfsError);
  });
});
