import { beforeAll, describe, expect, test } from 'vitest';
import { allocateReadingEvents, type ReadingEvent, ReadingEvents } from '../../../src/fs/reading-events.ts';
import { explore, loadStepwise, type Program, type Stepwise } from '../../support/interleavings.ts';

/** All events, as a reader gets them that starts after the last one. */
function told(state: SharedArrayBuffer): [ReadingEvent, number][] {
  const got: [ReadingEvent, number][] = [];
  const events = new ReadingEvents(state);
  events.follow((event, value) => {
    got.push([event, value]);
    if (got.length === LAST) new ReadingEvents(state).end();
  });
  return got;
}
let LAST = 0;

describe('ReadingEvents', () => {
  test('returns the events of several threads in order', () => {
    const state = allocateReadingEvents();
    const [one, other] = [new ReadingEvents(state), new ReadingEvents(state)];
    one.tell('listed', 7);
    other.tell('looked', 0xfffffffe);
    one.tell('opened', 3);
    LAST = 3;
    expect(told(state)).toEqual([
      ['listed', 7],
      ['looked', 0xfffffffe],
      ['opened', 3],
    ]);
    expect(one.openings).toBe(2); // the end counts as an event, so that it wakes the reader
  });

  test('loses the oldest events if no thread reads them', () => {
    const state = allocateReadingEvents();
    const events = new ReadingEvents(state);
    for (let i = 0; i < 10_000; i++) events.tell('looked', i);
    LAST = 4096;
    const got = told(state);
    expect(got[0]).toEqual(['looked', 10_000 - 4096]);
    expect(got.at(-1)).toEqual(['looked', 9_999]);
  });

  test('ends at once if the mount has ended', () => {
    const state = allocateReadingEvents();
    new ReadingEvents(state).tell('opened', 1);
    new ReadingEvents(state).end();
    LAST = 0;
    expect(told(state)).toEqual([]);
  });
});

describe('every interleaving of ReadingEvents', () => {
  type Sink = Stepwise<[event: ReadingEvent, value: number], void>;
  interface StepwiseEvents {
    tell: Stepwise<[event: ReadingEvent, value: number], void>;
    end: Stepwise<[], void>;
    follow: Stepwise<[sink: Sink], void>;
  }
  interface StepwiseModule {
    ReadingEvents: new (state: SharedArrayBuffer) => StepwiseEvents;
    allocateReadingEvents: () => SharedArrayBuffer;
  }
  let module: StepwiseModule;
  beforeAll(async () => {
    const path = new URL('../../../src/fs/reading-events.ts', import.meta.url).pathname;
    module = await loadStepwise<StepwiseModule>(path, { RING: 2, WAKE_EVERY: 1 }, ['sink']);
  });

  /** Follows the events, and returns their values. @param isEnough stops after this many */
  function* follow(events: StepwiseEvents, state: SharedArrayBuffer, isEnough: number): Program<number[]> {
    const got: number[] = [];
    const own = new Int32Array(new SharedArrayBuffer(4));
    yield* events.follow(function* sink(_event, value) {
      yield ['store', own, 0, value]; // the values it got are part of the state that it has seen
      got.push(value);
      if (got.length === isEnough) yield ['store', new Int32Array(state), 2, 1];
    });
    return got;
  }

  test('the reader does not sleep through the end', () => {
    const seen = new Set<string>();
    explore(() => {
      const state = module.allocateReadingEvents();
      function* tellAndEnd(events: StepwiseEvents): Program<void> {
        for (const value of [6, 7]) yield* events.tell('opened', value);
        yield* events.end();
      }
      return {
        words: new Int32Array(state),
        programs: [follow(new module.ReadingEvents(state), state, 9), tellAndEnd(new module.ReadingEvents(state))],
        check: ([got]) => void seen.add((got as number[]).join()),
      };
    });
    // the end may come before the reader looks at the events
    expect([...seen].sort()).toEqual(['', '6', '6,7']);
  });

  test('the reader gets all events, even if nothing wakes it after them', () => {
    explore(() => {
      const state = module.allocateReadingEvents();
      const thread = (): StepwiseEvents => new module.ReadingEvents(state);
      return {
        words: new Int32Array(state),
        programs: [follow(thread(), state, 2), thread().tell('opened', 5), thread().tell('opened', 6)],
        check: ([got]) => expect(got).toHaveLength(2),
      };
    });
  });
});
