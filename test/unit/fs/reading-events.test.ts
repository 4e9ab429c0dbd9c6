import { describe, expect, test } from 'vitest';
import { allocateReadingEvents, type ReadingEvent, ReadingEvents } from '../../../src/fs/reading-events.ts';

/** Everything that was told, for one who comes when it is over. */
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
  test('gives what several threads told, in order', () => {
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
    expect(one.openings).toBe(2); // the end counts as one, for who waits
  });

  test('loses the oldest where nobody reads them', () => {
    const state = allocateReadingEvents();
    const events = new ReadingEvents(state);
    for (let i = 0; i < 10_000; i++) events.tell('looked', i);
    LAST = 4096;
    const got = told(state);
    expect(got[0]).toEqual(['looked', 10_000 - 4096]);
    expect(got.at(-1)).toEqual(['looked', 9_999]);
  });

  test('ends at once where it is over', () => {
    const state = allocateReadingEvents();
    new ReadingEvents(state).tell('opened', 1);
    new ReadingEvents(state).end();
    LAST = 0;
    expect(told(state)).toEqual([]);
  });
});
