import { expect, test } from 'vitest';
import { CallerProcessor } from '../../../../src/mount/threads/caller-processor.ts';

/** A server on processor 0, and where it is moved to. */
function server(of: (thread: number) => number): { readonly follower: CallerProcessor; readonly moves: number[] } {
  const moves: number[] = [];
  let at = 0;
  const follower = new CallerProcessor({
    current: () => at,
    of,
    move: (processor) => {
      at = processor;
      moves.push(processor);
    },
  });
  return { follower, moves };
}

const repeat = (times: number, act: () => void): void => {
  for (let i = 0; i < times; i++) act();
};

test('a server follows a process that sends many requests in a row', () => {
  const { follower, moves } = server(() => 3);
  repeat(16, () => follower.answered(7));
  expect(moves).toEqual([]);
  follower.answered(7);
  expect(moves).toEqual([3]);
});

test('it stays where it is if the process is on the same processor', () => {
  const { follower, moves } = server(() => 0);
  repeat(1_000, () => follower.answered(7));
  expect(moves).toEqual([]);
});

test('it follows the process again when that has moved', () => {
  let at = 1;
  const { follower, moves } = server(() => at);
  repeat(17, () => follower.answered(7));
  repeat(128, () => follower.answered(7));
  at = 2;
  repeat(63, () => follower.answered(7));
  expect(moves).toEqual([1]);
  follower.answered(7);
  expect(moves).toEqual([1, 2]);
});

test('moves become rare if they do not help', () => {
  let at = 0;
  const { follower, moves } = server(() => ++at);
  repeat(1_000, () => follower.answered(7));
  // after 17, 128, 256 and 512 requests more
  expect(moves).toHaveLength(4);
  repeat(1_000_000, () => follower.answered(7));
  expect(moves.length).toBeLessThan(26);
  // another process does not begin anew
  repeat(60_000, () => follower.answered(8));
  const before = moves.length;
  repeat(6_000, () => follower.answered(8));
  expect(moves.length - before).toBeLessThanOrEqual(1);
});

test('two processes at a time are not followed', () => {
  const asked: number[] = [];
  const { follower, moves } = server((thread) => {
    asked.push(thread);
    return thread;
  });
  for (let i = 0; i < 1_000; i++) follower.answered(1 + (i % 2));
  expect([asked, moves]).toEqual([[], []]);
});

test('a process that is gone is not followed', () => {
  const { follower, moves } = server(() => -1);
  repeat(100, () => follower.answered(8));
  expect(moves).toEqual([]);
});

test('requests of the kernel itself do not count', () => {
  const { follower, moves } = server(() => 3);
  repeat(16, () => {
    follower.answered(7);
    repeat(3, () => follower.answered(0));
  });
  expect(moves).toEqual([]);
  follower.answered(7);
  expect(moves).toEqual([3]);
});
