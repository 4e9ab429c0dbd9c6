import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { allocateWorkTable, type Work, WorkTable } from '../../../../src/mount/threads/requests-in-progress.ts';
import { explore, loadStepwise, type Program, type Stepwise } from '../../../support/interleavings.ts';

const [A, B] = [7, 8];

function tableWithClock(ms = 1_000) {
  const clock = { ms };
  const table = new WorkTable(allocateWorkTable(), () => clock.ms | 0);
  return { clock, table };
}

describe('WorkTable', () => {
  test('reports the requests in progress, and their age', () => {
    const { clock, table } = tableWithClock();
    table.begin(3, 0xffff_fffe, 0x8000_0001, 42);
    clock.ms += 120;
    expect(table.working()).toMatchObject([
      { thread: 3, age: 120, uniqueLow: 0xffff_fffe, uniqueHigh: 0x8000_0001, pid: 42, isInterrupted: false },
    ]);
    expect(table.end(3)).toBe(true);
    expect(table.working()).toEqual([]);
  });

  test.each([0x7fff_ffff, 0xffff_ffff])(
    'reports the age of a request that began before the clock wrapped at %i',
    (wrap) => {
      const { clock, table } = tableWithClock(wrap - 10);
      table.begin(0, A, 0, 42);
      clock.ms += 60_000;
      expect(table.working()).toMatchObject([{ age: 60_000 }]);
    },
  );

  test('takes over the answer of a request once, and its thread learns of it', () => {
    const { table } = tableWithClock();
    table.begin(0, A, 0, 42);
    const [work] = table.working() as [Work];
    expect(table.takeOver(work)).toBe(true);
    expect(table.takeOver(work)).toBe(false);
    expect(table.working()).toEqual([]);
    expect(table.end(0)).toBe(false);
  });

  test('does not take over the next request of the thread', () => {
    const { table } = tableWithClock();
    table.begin(0, A, 0, 42);
    const [work] = table.working() as [Work];
    expect(table.end(0)).toBe(true);
    table.begin(0, B, 0, 43);
    expect(table.takeOver(work)).toBe(false);
    expect(table.end(0)).toBe(true);
  });

  test('marks the request that the INTERRUPT names, and no later one', () => {
    const { table } = tableWithClock();
    table.begin(0, A, 1, 42);
    table.begin(1, A, 2, 42);
    table.interrupt(A, 2);
    expect(table.working().map(({ isInterrupted }) => isInterrupted)).toEqual([false, true]);
    table.end(1);
    table.begin(1, A, 2, 42);
    expect(table.working().map(({ isInterrupted }) => isInterrupted)).toEqual([false, false]);
  });

  test('must be looked at once, until the looking has ended', () => {
    const { table } = tableWithClock();
    expect(table.begin(0, A, 0, 42)).toBe(true);
    expect(table.begin(1, B, 0, 42)).toBe(false);
    table.end(0);
    expect(table.unwatch()).toBe(false);
    table.end(1);
    expect(table.unwatch()).toBe(true);
    expect(table.begin(1, B, 0, 42)).toBe(true);
  });
});

/** The state of a thread in WorkTable, as a plain object. */
interface Model {
  unique: number;
  began: number;
  isInterrupted: boolean;
  isAnswered: boolean;
}

test('WorkTable behaves like a plain model, for any order of calls', () => {
  const threads = fc.integer({ min: 0, max: 2 });
  const uniques = fc.integer({ min: 1, max: 4 });
  const call = fc.oneof(
    fc.record({ name: fc.constant('begin' as const), thread: threads, unique: uniques }),
    fc.record({ name: fc.constant('end' as const), thread: threads }),
    fc.record({ name: fc.constant('interrupt' as const), unique: uniques }),
    fc.record({ name: fc.constant('look' as const) }),
    fc.record({ name: fc.constant('takeOver' as const), which: fc.nat() }),
    fc.record({ name: fc.constant('sleep' as const), ms: fc.integer({ min: 0, max: 0x7fff_ffff }) }),
  );
  fc.assert(
    fc.property(fc.array(call, { maxLength: 40 }), fc.integer(), (calls, start) => {
      const { clock, table } = tableWithClock(start);
      const model = new Map<number, Model>();
      /** Work that the main thread has seen, with the model's entry of that time. */
      const seen: { work: Work; of: Model }[] = [];
      for (const made of calls) {
        if (made.name === 'begin' && !model.has(made.thread)) {
          table.begin(made.thread, made.unique, 9, 42);
          model.set(made.thread, { unique: made.unique, began: clock.ms, isInterrupted: false, isAnswered: false });
        } else if (made.name === 'end') {
          expect(table.end(made.thread)).toBe(!(model.get(made.thread)?.isAnswered ?? false));
          model.delete(made.thread);
        } else if (made.name === 'interrupt') {
          table.interrupt(made.unique, 9);
          for (const of of model.values()) {
            if (of.unique === made.unique && !of.isAnswered) of.isInterrupted = true;
          }
        } else if (made.name === 'look') {
          const expected = [...model].filter(([, of]) => !of.isAnswered).sort(([a], [b]) => a - b);
          const working = table.working();
          expect(
            working.map(({ thread, age, uniqueLow, isInterrupted }) => [thread, age, uniqueLow, isInterrupted]),
          ).toEqual(
            expected.map(([thread, of]) => [thread, (clock.ms - of.began) % 2 ** 32, of.unique, of.isInterrupted]),
          );
          for (const [i, work] of working.entries()) seen.push({ work, of: (expected[i] as [number, Model])[1] });
        } else if (made.name === 'takeOver' && seen.length > 0) {
          const { work, of } = seen[made.which % seen.length] as { work: Work; of: Model };
          const isStillIt = model.get(work.thread) === of && !of.isAnswered;
          expect(table.takeOver(work)).toBe(isStillIt);
          if (isStillIt) of.isAnswered = true;
        } else if (made.name === 'sleep') clock.ms += made.ms;
      }
    }),
    { numRuns: 2_000 },
  );
});

/** WorkTable as generators. */
interface StepwiseTable {
  begin: Stepwise<[thread: number, uniqueLow: number, uniqueHigh: number, pid: number], boolean>;
  end: Stepwise<[thread: number], boolean>;
  interrupt: Stepwise<[uniqueLow: number, uniqueHigh: number], void>;
  working: Stepwise<[], Work[]>;
  takeOver: Stepwise<[work: Work], boolean>;
  unwatch: Stepwise<[], boolean>;
}

describe('every interleaving of WorkTable', () => {
  let module: { WorkTable: new (memory: SharedArrayBuffer, now: () => number) => StepwiseTable };
  beforeAll(async () => {
    module = await loadStepwise(
      new URL('../../../../src/mount/threads/requests-in-progress.ts', import.meta.url).pathname,
      { MOST_THREADS: 1 },
    );
  });
  const setUp = (): { words: Int32Array; table: StepwiseTable } => {
    const memory = new SharedArrayBuffer(64);
    return { words: new Int32Array(memory), table: new module.WorkTable(memory, () => 0) };
  };

  /** Serves requests one after another; returns those that it answered itself. */
  function* thread(table: StepwiseTable, uniques: readonly number[]): Program<number[]> {
    const answered: number[] = [];
    for (const unique of uniques) {
      yield* table.begin(0, unique, unique, unique);
      if (yield* table.end(0)) answered.push(unique);
    }
    return answered;
  }

  /** Takes over interrupted requests; returns those that it has to answer. */
  function* monitor(table: StepwiseTable, looks: number): Program<number[]> {
    const answered: number[] = [];
    for (let look = 0; look < looks; look++) {
      for (const work of yield* table.working()) {
        expect([work.uniqueHigh, work.pid]).toEqual([work.uniqueLow, work.uniqueLow]);
        if (work.isInterrupted && (yield* table.takeOver(work))) answered.push(work.uniqueLow);
      }
    }
    return answered;
  }

  test('each request is answered once, and only an interrupted one by the main thread', () => {
    for (const interrupted of [A, B]) {
      let byMain = 0;
      const { states } = explore(() => {
        const { words, table } = setUp();
        return {
          words,
          programs: [thread(table, [A, B]), table.interrupt(interrupted, interrupted), monitor(table, 1)],
          check: (results) => {
            const [own, , main] = results as [number[], undefined, number[]];
            expect([...own, ...main].sort()).toEqual([A, B]);
            expect(main.filter((unique) => unique !== interrupted)).toEqual([]);
            byMain += main.length;
          },
        };
      });
      expect(states).toBeGreaterThan(100);
      expect(byMain).toBeGreaterThan(0);
    }
  });

  test('a late INTERRUPT of one request does not hide that of the next', () => {
    function* threadThenInterrupt(table: StepwiseTable): Program<void> {
      yield* thread(table, [A]);
      yield* table.begin(0, B, B, B);
      yield* table.interrupt(B, B);
    }
    explore(() => {
      const { words, table } = setUp();
      return {
        words,
        programs: [threadThenInterrupt(table), table.interrupt(A, A)],
        check: () => {
          const memory = allocateWorkTable();
          new Int32Array(memory).set(words);
          expect(new WorkTable(memory, () => 0).working()).toMatchObject([{ uniqueLow: B, isInterrupted: true }]);
        },
      };
    });
  });

  test('no request begins unseen while the main thread stops looking', () => {
    explore(() => {
      const { words, table } = setUp();
      words[0] = 1;
      return {
        words,
        programs: [table.begin(0, A, A, A), table.unwatch()],
        check: (results) => {
          const [isToldToLook, hasStopped] = results as [boolean, boolean];
          expect(isToldToLook || !hasStopped).toBe(true);
        },
      };
    });
  });
});
