import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Bench } from '../../../bench/contract.ts';
import { affordableRounds, withDeadline } from '../../../bench/time-limit.ts';

const SECOND = 1e9;

describe('affordableRounds()', () => {
  const rounds = (turnSeconds: number): ReturnType<typeof affordableRounds> =>
    affordableRounds(turnSeconds * SECOND, { rounds: 3, timeLimit: 60 * SECOND });

  test('gives a fast system every round', () => {
    expect(rounds(0.1)).toEqual({ rounds: 3 });
    expect(rounds(15)).toEqual({ rounds: 3 });
  });

  test('gives a slow system fewer rounds, and reports that', () => {
    expect(rounds(20)).toEqual({ rounds: 2, limited: '2 of 3 rounds: a turn took 20.0 s' });
  });

  test('uses the warm-up as the only sample if nothing else fits', () => {
    expect(rounds(61)).toEqual({ rounds: 0, limited: 'only the warm-up turn: a turn took 61.0 s' });
  });
});

describe('withDeadline()', () => {
  const benchWith = (signal: AbortSignal): Bench => ({ signal, timeLimit: 2e6 }) as Bench;

  test('ends a turn that takes far too long', async () => {
    const turn = withDeadline(benchWith(new AbortController().signal), async ({ signal }) => {
      await sleep(10_000, undefined, { signal }).catch(() => signal.throwIfAborted());
    });
    await expect(turn).rejects.toThrow('it was ended after 0.01 s (5 times --time-limit)');
  });

  test('passes an interruption on with its reason', async () => {
    const controller = new AbortController();
    const turn = withDeadline({ ...benchWith(controller.signal), timeLimit: 60 * SECOND }, async ({ signal }) => {
      controller.abort(new Error('interrupted'));
      await sleep(10_000, undefined, { signal }).catch(() => signal.throwIfAborted());
    });
    await expect(turn).rejects.toThrow('interrupted');
  });
});
