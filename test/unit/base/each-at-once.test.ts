import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eachAtOnce } from '../../../src/base/each-at-once.ts';

test('works on so many at the same time, in their order', async () => {
  const begun: number[] = [];
  let [now, most] = [0, 0];
  await eachAtOnce([...Array(10).keys()], 3, async (item) => {
    begun.push(item);
    most = Math.max(most, ++now);
    await setImmediate();
    now--;
  });
  expect([begun, most, now]).toEqual([[...Array(10).keys()], 3, 0]);
});

test('after an error it begins no other one, and waits for those under way', async () => {
  let [begun, now] = [0, 0];
  const work = eachAtOnce([0, 1, 2, 3], 2, async (item) => {
    begun++;
    now++;
    if (item === 1) {
      now--;
      throw new Error('first');
    }
    for (let i = 0; i < 10; i++) await setImmediate();
    now--;
    throw new Error('later');
  });
  await expect(work).rejects.toThrow('first');
  expect([begun, now]).toEqual([2, 0]);
});
