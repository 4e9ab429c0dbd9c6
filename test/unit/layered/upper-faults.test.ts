/**
 * System calls that change the upper layer fail, in every operation: every second one, or with CFS_KILLS each.
 */
import { describe, expect, test } from 'vitest';
import { EDQUOT, ENOSPC, type Errno, errnoName } from '../../../src/base/errno.ts';
import { sample } from '../../support/sample.ts';
import {
  inodes,
  isDone,
  layered,
  look,
  names,
  reference,
  SCENARIOS,
  type Scenario,
  THREAD,
  unfinished,
  upperFailPoints,
  writer,
} from './upper-scenarios.ts';

describe('a call fails', () => {
  test.each(names)('%s: nothing is changed, and the next attempt succeeds', (name) => {
    const prepare = SCENARIOS[name] as Scenario;
    const { calls, done } = reference(prepare);
    for (const i of sample(calls.length, 2, names.indexOf(name))) {
      const call = calls[i] as string;
      const [errno, word] = i % 4 < 2 ? [ENOSPC, 'ENOSPC'] : [EDQUOT, 'EDQUOT'];
      const one = layered();
      const request = prepare(one);
      const before = inodes(one);
      const old = look(one, before, true);
      upperFailPoints.failAt(`${THREAD}:${i + 1}:${word}`);
      const result = request(writer());
      upperFailPoints.failAt('nowhere');
      const what = `${call} (${i + 1} of ${calls.length})`;
      // a write has removed the capabilities, and there is no room for them
      const isLost = name.includes('with capabilities') && call.endsWith('setxattrat');
      // a few calls are not necessary
      if (!isDone(one, result)) {
        expect(errnoName(result as Errno), what).toBe(errnoName(errno));
        if (!isLost) expect(look(one, before, true), what).toEqual(old);
        expect(unfinished(), what).toEqual([]);
        expect(isDone(one, request(writer())), `${what}: again`).toBe(true);
      }
      if (!isLost) expect(look(one, before, false), what).toEqual(done);
    }
  });
});
