import { closeSync, openSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { allocateMountEnd, letGoOfMount, tellParked } from '../../../src/mount/mount-end.ts';
import { lookAtParked, park } from '../../../src/survival/parking.ts';

// real mounts are used to test that all files are closed: this process needs its own files

describe('letGoOfMount() before the lists are written', () => {
  let ends: readonly [number, number];
  beforeEach(() => {
    const file = openSync('/dev/null', 'r');
    ends = park({ value: 1, fds: [file] });
    closeSync(file);
  });
  afterEach(() => ends.forEach(closeSync));

  const isParked = (): boolean => {
    const parked = lookAtParked(ends[1]);
    parked?.fds.forEach(closeSync);
    return parked !== undefined;
  };

  test('removes the parked mount', () => {
    const memory = allocateMountEnd();
    tellParked(memory, ends[1]);
    letGoOfMount(memory, []);
    expect(isParked()).toBe(false);
  });

  test('does nothing before it is parked, and leaves that to the main thread', () => {
    const memory = allocateMountEnd();
    letGoOfMount(memory, []);
    tellParked(memory, ends[1]);
    expect(isParked()).toBe(true);
  });

  test('uses the number once: another socket may have it later', () => {
    const memory = allocateMountEnd();
    tellParked(memory, ends[1]);
    letGoOfMount(memory, []);
    ends.forEach(closeSync);
    const file = openSync('/dev/null', 'r');
    ends = park({ value: 2, fds: [file] });
    closeSync(file);
    letGoOfMount(memory, []);
    expect(isParked()).toBe(true);
  });
});
