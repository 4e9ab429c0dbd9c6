import { describe, expect, test } from 'vitest';
import { cachedBytes, memoryHierarchies } from '../../../bench/memory-meter.ts';
import { parseCpuTime, parseKilobytes, usageOf } from '../../../bench/processes.ts';
import { isPlausible } from '../../../bench/shared.ts';

describe('parseCpuTime()', () => {
  test('adds user and system time, also after a name with blanks and parentheses', () => {
    const rest = 'S 1 2 3 0 -1 4194560 100 0 5 0 120 34 0 0 20 0 11 0 12345';
    expect(parseCpuTime(`42 (node) ${rest}`)).toBe(1_540_000_000);
    expect(parseCpuTime(`42 (a) b (c) ${rest}`)).toBe(1_540_000_000);
  });
});

test('parseKilobytes() returns bytes, and 0 for a missing field', () => {
  const status = 'Name:\tx\nVmRSS:\t    1234 kB\nRssAnon:\t 5 kB\n';
  expect(parseKilobytes(status, 'VmRSS')).toBe(1234 * 1024);
  expect(parseKilobytes(status, 'Pss')).toBe(0);
});

describe('usageOf()', () => {
  test('finds memory and CPU time of this process', () => {
    const usage = usageOf(process.pid);
    expect(usage?.rssBytes).toBeGreaterThan(1e6);
    expect(usage?.cpuNs).toBeGreaterThan(0);
  });

  test('returns nothing for no process', () => {
    expect(usageOf(undefined)).toBeUndefined();
    expect(usageOf(2 ** 22 + 1)).toBeUndefined();
  });
});

describe('memoryHierarchies()', () => {
  test('finds cgroup v2, and v1 only if it accounts memory', () => {
    const mountinfo = [
      '25 30 0:22 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
      '26 30 0:23 / /sys/fs/cgroup/cpu rw,relatime shared:3 - cgroup cgroup rw,cpu',
      '27 30 0:24 / /sys/fs/cgroup/memory rw,relatime shared:4 - cgroup cgroup rw,memory',
      '28 30 8:1 / / rw - ext4 /dev/sda1 rw',
    ].join('\n');
    expect(memoryHierarchies(mountinfo)).toEqual([
      { version: 2, root: '/sys/fs/cgroup/unified', usage: 'memory.current' },
      { version: 1, root: '/sys/fs/cgroup/memory', usage: 'memory.usage_in_bytes' },
    ]);
  });
});

test('cachedBytes() adds page cache, buffers, reclaimable slabs, and memory of programs', () => {
  const meminfo =
    'MemTotal: 100 kB\nBuffers: 1 kB\nCached:  20 kB\nSwapCached: 7 kB\nAnonPages: 300 kB\nSReclaimable: 4000 kB\n';
  expect(cachedBytes(meminfo)).toBe(4321 * 1024);
});

describe('isPlausible()', () => {
  test.each([
    [{ one: 100, both: 110 }, true],
    [{ one: 100, both: 90 }, false],
    [{ one: 50, both: 90 }, false],
  ])('%j of 100 bytes: %j', (sample, expected) => {
    expect(isPlausible(sample, 100)).toBe(expected);
  });
});
