import { describe, expect, test } from 'vitest';
import { allocateServingTurn, ServingTurn } from '../../../../src/mount/threads/serving-turn.ts';
import { explore, loadStepwise, type Program, type Stepwise } from '../../../support/interleavings.ts';

const HELD = 1;

/** A turn with a clock that only the test advances, and the state that other threads see. */
function turnWithClock() {
  const state = allocateServingTurn();
  const word = new Int32Array(state);
  const clock = { ms: 1_000 };
  const turn = new ServingTurn(state, 0, () => clock.ms);
  const isTaken = (): boolean => word[0] === HELD;
  /** A small piece of work that takes `ms`; returns whether the turn was passed on for it. */
  const work = (ms: number, bytes = 4_096): boolean => {
    turn.take();
    turn.beforeWork(bytes);
    const passed = !isTaken();
    clock.ms += ms;
    turn.take();
    return passed;
  };
  return { turn, isTaken, work };
}

describe('ServingTurn', () => {
  test('is taken once, and passed on once', () => {
    const { turn, isTaken } = turnWithClock();
    turn.take();
    turn.take();
    expect(isTaken()).toBe(true);
    turn.pass();
    turn.pass();
    expect(isTaken()).toBe(false);
  });

  test('does not release a turn that another thread has taken in the meantime', () => {
    const state = allocateServingTurn();
    const [one, other] = [new ServingTurn(state), new ServingTurn(state)];
    one.take();
    one.pass();
    other.take();
    one.pass();
    expect(new Int32Array(state)[0]).toBe(HELD);
  });

  test('is passed on before little work, until that proves to be quick, and again when it is slow', () => {
    const { work } = turnWithClock();
    expect([work(5), work(0.1), work(0.1), work(0.1), work(2), work(0.1), work(0.1)]).toEqual([
      true, // unknown
      true, // the one before was slow
      false,
      false,
      false, // this could not be foreseen
      true,
      false,
    ]);
  });

  test('is always passed on before much work', () => {
    const { work } = turnWithClock();
    work(0.1);
    expect([work(0.1), work(0.1, 131_072), work(0.1, 1e12)]).toEqual([false, true, true]);
  });
});

describe('every interleaving of ServingTurn', () => {
  interface StepwiseTurn {
    take: Stepwise<[], void>;
    pass: Stepwise<[], void>;
  }
  interface StepwiseWatch {
    takeFrom: Stepwise<[thread: number], void>;
  }
  interface StepwiseModule {
    ServingTurn: new (state: SharedArrayBuffer, thread: number) => StepwiseTurn;
    TurnWatch: new (state: SharedArrayBuffer) => StepwiseWatch;
  }

  test('with the main thread taking turns away: no thread waits forever, and the turn is free at the end', async () => {
    const path = new URL('../../../../src/mount/threads/serving-turn.ts', import.meta.url).pathname;
    const { ServingTurn: Turn, TurnWatch: Watch } = await loadStepwise<StepwiseModule>(path);

    function* serve(turn: StepwiseTurn, times: number): Program<void> {
      for (let i = 0; i < times; i++) {
        yield* turn.take();
        yield* turn.pass();
      }
    }

    const { states } = explore(() => {
      const state = allocateServingTurn();
      const words = new Int32Array(state);
      return {
        words,
        programs: [serve(new Turn(state, 0), 2), serve(new Turn(state, 1), 1), new Watch(state).takeFrom(0)],
        check: () => expect([...words]).toEqual([0, 0]),
      };
    });
    expect(states).toBeGreaterThan(100);
  });
});
