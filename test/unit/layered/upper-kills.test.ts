/**
 * The server is killed before system calls that change the upper layer, in every operation: before every second one, or
 * with CFS_KILLS before each. Afterwards users see the state before the operation, or the one after it.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type Errno, errnoName, isErrno } from '../../../src/base/errno.ts';
import { sample } from '../../support/sample.ts';
import {
  inodes,
  isDone,
  layered,
  look,
  names,
  privateDirectory,
  reference,
  SCENARIOS,
  type Scenario,
  THREAD,
  unfinished,
  upperFailPoints,
  writer,
} from './upper-scenarios.ts';

/**
 * A directory that replaces another one is exchanged with it first. A mount that ends there keeps the empty directory
 * at the old name.
 */
const HAS_STATE_BETWEEN: ReadonlySet<string> = new Set(['rename a new directory over a new one']);

/** Opening a file to write to it changes nothing that users see, times included. */
const CHANGES_NOTHING = /^open a file (?!.*O_TRUNC)/;

class Killed extends Error {}

describe('the server is killed before a call', () => {
  /** The state after the kill, and the request that the next server gets. */
  function killed(prepare: Scenario, at: number) {
    const one = layered();
    const request = prepare(one);
    const before = inodes(one);
    const old = look(one, before, true);
    let noted: readonly [number, number] = [0, 0];
    const note = (a: number, b: number): void => {
      noted = [a, b];
    };
    vi.spyOn(process, 'kill').mockImplementation(() => {
      throw new Killed();
    });
    upperFailPoints.failAt(`${THREAD}:${at}:kill`);
    expect(() => request(writer({ note }))).toThrow(Killed);
    upperFailPoints.failAt('nowhere');
    vi.restoreAllMocks();
    return { one, request, before, old, noted };
  }

  test.each(names)('%s: the next server completes it', (name) => {
    const prepare = SCENARIOS[name] as Scenario;
    const { calls, done } = reference(prepare);
    for (const i of sample(calls.length, 2, names.indexOf(name))) {
      const call = calls[i];
      const { one, request, before, old, noted } = killed(prepare, i + 1);
      const what = `${call} (${i + 1} of ${calls.length})`;
      one.takeOver();
      const result = request(writer({ again: true, noted }));
      expect(isDone(one, result), `${what}: ${isErrno(result as Errno) ? errnoName(result as Errno) : ''}`).toBe(true);
      expect(look(one, before, false), what).toEqual(done);
      if (CHANGES_NOTHING.test(name)) expect(look(one, before, true), what).toEqual(old);
      expect(look(layered(false), before, false), `${what}: after a remount`).toEqual(done);
    }
  });

  test.each(names)('%s: without another server, the next mount shows the state before it or after it', (name) => {
    const prepare = SCENARIOS[name] as Scenario;
    const { calls, done } = reference(prepare);
    for (const i of sample(calls.length, 2, names.indexOf(name) + 1)) {
      const call = calls[i];
      const { before, old } = killed(prepare, i + 1);
      const what = `${call} (${i + 1} of ${calls.length})`;
      const next = layered(false);
      const now = look(next, before, false);
      const isOld = JSON.stringify(look(next, before, true)) === JSON.stringify(old);
      if (CHANGES_NOTHING.test(name)) expect(look(next, before, true), what).toEqual(old);
      if (!isOld && !(HAS_STATE_BETWEEN.has(name) && i > 0)) expect(now, what).toEqual(done);
      expect([unfinished(), readdirSync(join(privateDirectory(), 'orphans'))], what).toEqual([[], []]);
    }
  });
});
