import { describe, expect, test } from 'vitest';
import { EIO, ENOENT, type Errno } from '../../../src/base/errno.ts';
import { allocateCounters, Counters, totalsOf } from '../../../src/mount/counters.ts';

describe('Counters', () => {
  test('adds up the counts of all threads', () => {
    const memory = allocateCounters(3, 2);
    const [one, other] = [new Counters(memory, 0), new Counters(memory, 2)];
    for (const counters of [one, other]) {
      counters.request(1);
      counters.error(EIO);
      counters.bytesRead(3e9);
      counters.repository(1, 'damaged');
    }
    one.request(63);
    other.slow();
    const zero = { served: 0, missing: 0, damaged: 0, failed: 0 };
    expect(totalsOf(memory)).toEqual({
      requests: new Map([
        [1, 2],
        [63, 1],
      ]),
      otherRequests: 0,
      errors: { EIO: 2 },
      bytesRead: 6e9,
      slow: 1,
      repositories: [zero, { ...zero, damaged: 2 }],
    });
  });

  test('counts no answer of a healthy mount as an error', () => {
    const memory = allocateCounters(1, 0);
    new Counters(memory, 0).error(ENOENT);
    expect(totalsOf(memory).errors).toEqual({});
  });

  test('counts unknown opcodes and errors under one name', () => {
    const memory = allocateCounters(1, 1);
    const counters = new Counters(memory, 0);
    for (const opcode of [0, 64, 4_096, 0xffff_ffff]) counters.request(opcode);
    for (const errno of [255, 256, 512, 4_095]) counters.error(-errno as Errno);
    const { requests, otherRequests, errors, bytesRead, slow, repositories } = totalsOf(memory);
    expect([...requests]).toEqual([[0, 1]]);
    expect(otherRequests).toBe(3);
    expect(errors).toEqual({ 'errno 255': 1, other: 3 });
    expect([bytesRead, slow, ...Object.values(repositories[0] as object)]).toEqual([0, 0, 0, 0, 0, 0]);
  });
});
