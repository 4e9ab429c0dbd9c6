import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EINTR } from '../../../../src/base/errno.ts';
import { MountMonitor } from '../../../../src/mount/threads/monitor.ts';
import { allocateWorkTable, WorkTable } from '../../../../src/mount/threads/requests-in-progress.ts';
import { allocateServingTurn, ServingTurn } from '../../../../src/mount/threads/serving-turn.ts';

/** Milliseconds after which the monitor has surely looked twice at a waiting thread. */
const TWO_LOOKS = 150;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance', 'hrtime'] });
});

afterEach(() => {
  vi.useRealTimers();
});

function monitored() {
  const [table, turn] = [allocateWorkTable(), allocateServingTurn()];
  const done: string[] = [];
  const monitor = new MountMonitor(table, turn, {
    startThread: () => done.push('thread'),
    countSlow: () => done.push('slow'),
    answer: ({ uniqueLow }, error) => done.push(`${uniqueLow} ${error === EINTR}`),
  });
  const work = new WorkTable(table);
  const begin = (thread: number, unique: number, pid = 0): void => {
    if (work.begin(thread, unique, 0, pid)) monitor.wake();
  };
  return { done, work, begin, turn: (thread: number) => new ServingTurn(turn, thread) };
}

describe('MountMonitor', () => {
  test('takes the turn from a thread that keeps it while it waits', () => {
    const { turn, begin, done } = monitored();
    const [one, other] = [turn(0), turn(1)];
    one.take();
    begin(0, 7);
    vi.advanceTimersByTime(TWO_LOOKS);
    // this would wait without end if the turn were not free
    other.take();
    other.pass();
    expect(done).not.toContain('slow');
  });

  test('starts a thread if all wait, and none if one has the turn', () => {
    const { turn, begin, done } = monitored();
    const waiting = turn(0);
    waiting.take();
    begin(0, 7);
    waiting.pass();
    vi.advanceTimersByTime(TWO_LOOKS);
    expect(done).toContain('thread');
    turn(1).take();
    done.length = 0;
    vi.advanceTimersByTime(TWO_LOOKS);
    expect(done).toEqual([]);
  });

  test('counts a slow request once, and each request separately', () => {
    const { turn, begin, done, work } = monitored();
    turn(5).take();
    begin(0, 7);
    vi.advanceTimersByTime(5_000);
    expect(done).toEqual(['slow']);
    work.end(0);
    begin(0, 7);
    vi.advanceTimersByTime(5_000);
    expect(done).toEqual(['slow', 'slow']);
  });

  test('answers a request whose process is gone, and no other', async () => {
    const { turn, begin, done, work } = monitored();
    turn(5).take();
    const child = spawn('true');
    const pid = child.pid as number;
    await once(child, 'exit');
    begin(0, 7, pid);
    begin(1, 8, pid);
    begin(2, 9, process.pid);
    work.interrupt(7, 0);
    work.interrupt(9, 0);
    vi.advanceTimersByTime(TWO_LOOKS);
    expect(done).toEqual(['7 true']);
    expect([work.end(0), work.end(1), work.end(2)]).toEqual([false, true, true]);
  });

  test('stops looking when there is nothing to do, and looks again when notified', () => {
    const { turn, begin, done, work } = monitored();
    turn(5).take();
    begin(0, 7);
    work.end(0);
    vi.advanceTimersByTime(60_000);
    expect(vi.getTimerCount()).toBe(0);
    begin(0, 8);
    vi.advanceTimersByTime(5_000);
    expect(done).toEqual(['slow']);
  });
});
