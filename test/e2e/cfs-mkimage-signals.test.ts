/**
 * cfs-mkimage that is stopped leaves no half image, nothing unfinished and no lock; the next run completes the work.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  expectImageKept,
  expectUnlocked,
  expectWhole,
  manyFiles,
  messageOf,
  packed,
  packInterrupted,
  start,
  temporariesIn,
} from './cli.ts';
import { useScratch } from './harness.ts';
import { until } from './system.ts';

const scratch = useScratch();
const source = scratch.at('source');
let id: string;

beforeAll(async () => {
  manyFiles(source, 3000);
  ({ id } = await packed(scratch, ['--no-fsync', source, scratch.at('whole.cfs')]));
});

const SIGNALS = [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const;

describe.each(SIGNALS)('%s', (signal, status) => {
  test('in the middle of many files ends it: no image, nothing unfinished, no lock', async () => {
    const store = scratch.directory('store');
    const image = scratch.at(`${signal}.cfs`);
    const send = (pid: number): void => {
      process.kill(pid, signal);
    };
    const outcome = await packInterrupted(scratch, store, ['--store', store, source, image], send);
    expect(outcome.signal).toBeNull();
    expect(messageOf(outcome, status)).toBe(`stopped by ${signal}; no image was written`);
    expectImageKept(image, undefined);
    expectWhole(store);
    expect((await packed(scratch, ['--store', store, source, image])).id).toBe(id);
    expect(expectWhole(store)).toHaveLength(3000);
  });
});

describe('SIGINT', () => {
  test('keeps an existing image, and the objects that have their names', async () => {
    const store = scratch.directory('store');
    const image = scratch.at('kept.cfs');
    writeFileSync(image, 'the image before');
    // without fsync each object gets its name at once
    const args = ['--no-fsync', '--json', '--store', store, source, image];
    const outcome = await packInterrupted(scratch, store, args, (pid) => {
      process.kill(pid, 'SIGINT');
    });
    expect(outcome.status).toBe(130);
    expect(JSON.parse(outcome.stdout)).toEqual({
      error: { kind: 'interrupted', message: 'stopped by SIGINT; no image was written', status: 130 },
    });
    expectImageKept(image, 'the image before');
    const kept = expectWhole(store).length;
    expect(kept).toBeGreaterThan(0);
    expect(await packed(scratch, ['--store', store, source, image])).toMatchObject({ id, newObjects: 3000 - kept });
  });

  test('in the middle of one large file ends it soon', async () => {
    const root = scratch.directory('large');
    writeFileSync(`${root}/file`, 'not quite a hole');
    truncateSync(`${root}/file`, 4 * 2 ** 40); // hashing all of it takes an hour
    const store = scratch.directory('store');
    const image = scratch.at('large.cfs');
    const { pid, outcome } = start(scratch, 'cfs-mkimage', [
      '--hash',
      'fsverity-sha256',
      '--store',
      store,
      root,
      image,
    ]);
    await until('the file is being packed', () => existsSync(`${store}/tmp`) && temporariesIn(store).length > 0);
    process.kill(pid, 'SIGINT');
    expect(messageOf(await outcome, 130)).toContain('stopped by SIGINT');
    expectImageKept(image, undefined);
    expectWhole(store);
  });

  test('while it waits for the lock ends it', async () => {
    const store = scratch.directory('store');
    await packed(scratch, ['--store', store, scratch.directory('empty'), scratch.at('empty.cfs')]);
    const holder = spawn('flock', ['--exclusive', `${store}/lock`, 'sh', '-c', 'echo held; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      await once(holder.stdout, 'data');
      const waiting = start(scratch, 'cfs-mkimage', ['--store', store, source, scratch.at('waiting.cfs')]);
      // it says that it waits
      await once(waiting.child.stderr as Readable, 'data');
      process.kill(waiting.pid, 'SIGINT');
      expect((await waiting.outcome).status).toBe(130);
    } finally {
      holder.stdin.end();
      await once(holder, 'close');
    }
  });

  test.each(Array.from({ length: 12 }, (_, i) => i))('at any time is no crash (%i)', async (i) => {
    const store = scratch.directory('store');
    const image = scratch.at(`any-${i}.cfs`);
    const args = [i % 2 === 0 ? '--quiet' : '--no-fsync', '--threads', '8', '--store', store, source, image];
    const { pid, child, outcome } = start(scratch, 'cfs-mkimage', args);
    await new Promise((resolve) => setTimeout(resolve, 100 + i * 60));
    if (child.exitCode === null) process.kill(pid, 'SIGINT');
    const { status, signal } = await outcome;
    // before its handlers are set, the signal itself ends it; once the image exists, it has succeeded
    if (signal !== null) expect(signal).toBe('SIGINT');
    else expect([0, 130]).toContain(status);
    expect(existsSync(image)).toBe(status === 0);
    if (existsSync(`${store}/meta.json`)) expectWhole(store);
  });
});

describe('SIGKILL', () => {
  test('leaves files that the next run cleans up, and that run makes the same image', async () => {
    const store = scratch.directory('store');
    const image = scratch.at('killed.cfs');
    const outcome = await packInterrupted(scratch, store, ['--store', store, source, image], (pid) => {
      process.kill(pid, 'SIGKILL');
    });
    expect(outcome.signal).toBe('SIGKILL');
    expectImageKept(image, undefined);
    expect(temporariesIn(store).length).toBeGreaterThan(0);
    expectUnlocked(store);
    expect((await packed(scratch, ['--store', store, source, image])).id).toBe(id);
    expect(expectWhole(store)).toHaveLength(3000);
  });

  test('during the creation of a store leaves one that the next run completes', async () => {
    const store = scratch.at('half-made');
    mkdirSync(`${store}/objects/00`, { recursive: true });
    mkdirSync(`${store}/tmp`);
    writeFileSync(`${store}/meta.json.0123456789ab.tmp`, '{');
    expect((await packed(scratch, ['--no-fsync', '--store', store, source, scratch.at('half.cfs')])).id).toBe(id);
    expect(readdirSync(`${store}/objects`)).toHaveLength(256);
    expectWhole(store);
  });
});
