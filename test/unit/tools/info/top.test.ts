/** `cfs-info top`: rates of what a server counts, and how they are shown. */
import { describe, expect, test } from 'vitest';
import type { MountActivity } from '../../../../src/mount/mount-statistics.ts';
import { ratesBetween } from '../../../../tools/info/mount-activity.ts';
import { lineOf, screenOf } from '../../../../tools/info/top-text.ts';

const BUCKETS = 25;
const buckets = (counts: Readonly<Record<number, number>>): number[] =>
  Array.from({ length: BUCKETS }, (_, i) => counts[i] ?? 0);

const repository = {
  path: '/srv/store',
  uuid: '',
  verify: 'open',
  served: 2,
  missing: 0,
  damaged: 0,
  failed: 0,
} as const;

const before: MountActivity = {
  restarts: 0,
  requests: { LOOKUP: 100, OPEN: 10 },
  errors: {},
  bytesRead: 1_000,
  slow: 0,
  problems: 0,
  repositories: [repository],
  watch: 1,
  latency: buckets({ 3: 100, 5: 10 }),
  opened: [],
  verified: { objects: 5, bytes: 5_000 },
  objects: 40,
};

const after: MountActivity = {
  ...before,
  requests: { LOOKUP: 300, OPEN: 30, READ: 50 },
  errors: { EIO: 4 },
  bytesRead: 5_000,
  problems: 2,
  repositories: [{ ...repository, served: 7, damaged: 2 }],
  latency: buckets({ 3: 290, 5: 20, 24: 2 }),
  opened: [
    { ino: 7, opens: 20, path: '/etc/passwd' },
    { ino: 8, opens: 1, path: undefined },
  ],
  verified: { objects: 9, bytes: 9_000 },
};

const server = {
  url: 'https://example.org/',
  requests: 1,
  bytes: 100,
  failures: 0,
  failovers: 0,
  retries: 0,
  objects: 2,
  objectBytes: 1000,
};
const remoteBefore = { ...before, fetched: { objects: 2, bytes: 1000, failed: 0, hits: 1, servers: [server] } };
const remoteAfter = {
  ...after,
  fetched: {
    objects: 22,
    bytes: 9000,
    failed: 2,
    hits: 5,
    servers: [{ ...server, requests: 5, bytes: 2100, failures: 4, failovers: 2, retries: 1, objects: 22 }],
  },
};

describe('rates', () => {
  test('are differences for each second', () => {
    expect(ratesBetween(before, after, 2_000)).toMatchObject({
      seconds: 2,
      requests: { LOOKUP: 100, OPEN: 10, READ: 25 },
      errors: { EIO: 2 },
      bytesRead: 2_000,
      opens: 10,
      hits: 0.75,
      verifiedObjects: 2,
      verifiedBytes: 2_000,
      verified: 9,
      objects: 40,
      latency: buckets({ 3: 190, 5: 10, 24: 2 }),
      median: 8,
      slowest: 32,
      repositories: [{ path: '/srv/store', served: 2.5, missing: 0, damaged: 1, failed: 0 }],
      problems: 2,
    });
  });

  test('of a mount that does nothing are zero', () => {
    const { requests, hits, median, slowest } = ratesBetween(after, after, 1_000);
    expect({ requests, hits, median, slowest }).toEqual({
      requests: {},
      hits: undefined,
      median: undefined,
      slowest: undefined,
    });
  });

  test('of remote repositories are differences, too', () => {
    const of = { requests: 2, bytes: 1000, failures: 2, failovers: 1, retries: 0.5, objects: 10, objectBytes: 0 };
    expect(ratesBetween(remoteBefore, remoteAfter, 2_000).fetched).toEqual({
      objects: 10,
      bytes: 4000,
      failed: 1,
      hits: 2,
      servers: [{ url: server.url, ...of }],
    });
    expect(ratesBetween(before, after, 2_000).fetched).toBeUndefined();
  });

  test('begin at zero with another server', () => {
    const next = { ...after, restarts: 1, watch: 1, requests: { OPEN: 3 }, latency: buckets({ 3: 3 }) };
    const rates = ratesBetween({ ...after, requests: { OPEN: 1_000 } }, next, 1_000);
    expect(rates.requests).toEqual({ OPEN: 3 });
    expect(rates.latency).toEqual(buckets({ 3: 3 }));
  });

  test('of times begin at zero when watching began anew', () => {
    const next = { ...after, watch: 2, latency: buckets({ 4: 6 }) };
    expect(ratesBetween(before, next, 1_000).latency).toEqual(buckets({ 4: 6 }));
  });

  test('are not negative, whatever the server says', () => {
    const rates = ratesBetween(after, before, 0);
    expect(Math.min(rates.bytesRead, rates.opens, rates.verifiedObjects, ...rates.latency)).toBe(0);
    expect(rates.repositories[0]).toMatchObject({ served: 0 });
  });
});

test('a line has the sums', () => {
  expect(lineOf(ratesBetween(before, after, 2_000), '14:00:01')).toBe(
    '14:00:01  135 requests/s  10 opens/s, 75 % hits  read 2.0 kB/s  verified 2.0/s, 2.0 kB/s  2.0 errors/s  ' +
      '2 problems  50 % < 8 µs, 99 % < 32 µs',
  );
  expect(lineOf(ratesBetween(remoteBefore, remoteAfter, 2_000), '')).toContain(
    '  fetched 10/s, 4.0 kB/s  2.0 errors/s',
  );
  expect(lineOf(ratesBetween(after, after, 1_000), '14:00:02')).toBe(
    '14:00:02  0 requests/s  0 opens/s  read 0 B/s  verified 0/s, 0 B/s  0 errors/s  2 problems  none',
  );
});

const content = {
  mountpoint: '/mnt',
  time: '14:00:01',
  rates: ratesBetween(before, after, 2_000),
  lastProblems: Array.from({ length: 9 }, (_, i) => ({
    time: '2026-01-01T00:00:00.000Z',
    severity: 'error' as const,
    message: `problem ${i} of /a\x1b[2J\n`,
  })),
};

describe('a screen', () => {
  test('shows all there is', () => {
    expect(screenOf(content, { columns: 100, rows: 50 })).toEqual([
      'cfs-info top  /mnt  14:00:01  every 2.0 s  (q quits)',
      '',
      'requests  135/s; 50 % < 8 µs, 99 % < 32 µs',
      'opens     10/s, 75 % hits',
      'read      2.0 kB/s through the server',
      'verified  2.0 objects/s, 2.0 kB/s; 9 of 40 objects',
      'errors    EIO 2.0/s; 2 problems, 0 restarts',
      '',
      '  served/s missing/s damaged/s  failed/s  repository',
      '       2.5         0       1.0         0  /srv/store',
      '',
      'request        each second    answered in  requests',
      'LOOKUP                 100         < 8 µs       190  ########################',
      'READ                    25        < 32 µs        10  ##',
      'OPEN                    10       >= 8.4 s         2  #',
      '',
      'most opened since this began',
      '        20  /etc/passwd',
      '         1  inode 8',
      '',
      'last problems',
      ...[4, 5, 6, 7, 8].map((i) => `2026-01-01T00:00:00.000Z error: problem ${i} of /a\\x1b[2J\\x0a`),
    ]);
  });

  test('has the servers of remote repositories', () => {
    const rates = ratesBetween(remoteBefore, remoteAfter, 2_000);
    const lines = screenOf({ ...content, rates }, { columns: 100, rows: 50 });
    expect(lines.slice(9, 15)).toEqual([
      '       2.5         0       1.0         0  /srv/store',
      '',
      'fetched 10 objects/s, 4.0 kB/s; 2.0 hits/s, 1.0 failed/s',
      '  answered/s   objects/s     bytes/s    failed/s   retries/s failovers/s  server',
      '         2.0          10      1.0 kB         2.0         0.5         1.0  https://example.org/',
      '',
    ]);
  });

  test.each([
    [1, 1],
    [20, 5],
    [37, 12],
  ])('fits into %d columns and %d rows', (columns, rows) => {
    const lines = screenOf(content, { columns, rows });
    expect(lines.length).toBeLessThanOrEqual(Math.max(rows - 1, 1));
    for (const line of lines) expect([...line].length).toBeLessThanOrEqual(columns);
  });

  test('sums up requests that are rare', () => {
    const requests = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`OP${i}`, 100 - i]));
    const lines = screenOf({ ...content, rates: { ...content.rates, requests } }, { columns: 40, rows: 60 });
    expect(lines.find((line) => line.startsWith('others'))).toMatch(/^others +676\b/);
  });
});
