/**
 * The state that threads share, with real threads. They load the built modules: node loads no TypeScript in a worker.
 */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { digestContent } from '../../src/base/digest.ts';
import { allocateObjectState } from '../../src/objects/object-state.ts';
import { initRepository } from '../../src/store/open-repository.ts';
import { useScratch } from './harness.ts';

const THREADS = 4;
const scratch = useScratch();

const moduleUrl = (path: string): string => pathToFileURL(resolve(import.meta.dirname, '../../dist/src', path)).href;

/**
 * Runs `body` in several threads, which begin at the same moment; returns the result of each.
 * @param body the body of an async function of `data`, as text
 */
async function inThreads<T>(body: string, data: Readonly<Record<string, unknown>>): Promise<T[]> {
  const start = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { start, data } = workerData;
      const run = async () => { ${body} };
      const prepared = await Promise.all((data.modules ?? []).map((url) => import(url)));
      data.loaded = Object.assign({}, ...prepared);
      parentPort.postMessage('ready');
      Atomics.wait(start, 0, 0);
      parentPort.postMessage({ result: await run() });
    })();`;
  const workers = Array.from({ length: THREADS }, () => new Worker(code, { eval: true, workerData: { start, data } }));
  const results = workers.map(
    (worker) =>
      new Promise<T>((done, fail) => {
        worker.on('error', fail);
        worker.on('message', (message: 'ready' | { result: T }) => {
          if (message !== 'ready') done(message.result);
        });
      }),
  );
  await Promise.all(workers.map((worker) => new Promise((ready) => worker.once('message', ready))));
  Atomics.store(start, 0, 1);
  Atomics.notify(start, 0);
  return Promise.all(results);
}

describe('SharedMutex', () => {
  test('lets one thread in at a time, and wakes every waiting thread', async () => {
    const words = new Int32Array(new SharedArrayBuffer(16));
    const rounds = 20_000;
    // a read and a write with a gap for another thread
    const body = `
      const { SharedMutex } = data.loaded;
      const mutex = new SharedMutex(data.words, 0);
      let together = 0;
      for (let i = 0; i < data.rounds; i++) {
        mutex.hold(() => {
          if (data.words[2]++ !== 0) together++;
          const before = data.words[1];
          for (let spin = 0; spin < i % 50; spin++);
          data.words[1] = before + 1;
          data.words[2]--;
        });
      }
      return together;`;
    const together = await inThreads<number>(body, { words, rounds, modules: [moduleUrl('system/shared-mutex.js')] });
    expect(together).toEqual(Array(THREADS).fill(0));
    expect([...words]).toEqual([0, THREADS * rounds, 0, 0]);
  });
});

describe('WholeObjects', () => {
  /** Opens one object in all threads at once; returns the time of each open, and the number of hashings. */
  async function openTogether(damaged: boolean): Promise<{ hashings: number; results: number[]; log: string[] }> {
    const path = scratch.directory('repository');
    const repository = initRepository(path, 'blake3');
    const content = Buffer.alloc(64 << 20, 'a large object ');
    const { digest } = digestContent('blake3', content);
    if (damaged) content[content.length - 1] = 0;
    writeFileSync(repository.objectPath(digest), content);
    await new Promise((settled) => setTimeout(settled, 100));
    const counter = new Int32Array(new SharedArrayBuffer(4));
    const body = `
      const { WholeObjects, openRepository } = data.loaded;
      const local = openRepository(data.path);
      const repository = {
        path: data.path, uuid: local.uuid,
        get hash() { Atomics.add(data.counter, 0, 1); return local.hash; },
        open: (digest) => local.open(digest), size: (digest) => local.size(digest),
      };
      const log = [];
      const store = new WholeObjects([repository], 'open', data.state, (line) => log.push(line));
      const fd = store.open({ index: 0, digest: data.digest, size: data.size }, () => '/file');
      return { fd, log };`;
    const results = await inThreads<{ fd: number; log: string[] }>(body, {
      path,
      digest,
      size: content.length,
      counter,
      state: allocateObjectState(1),
      modules: [moduleUrl('objects/whole-objects.js'), moduleUrl('store/open-repository.js')],
    });
    return {
      hashings: counter[0] as number,
      results: results.map(({ fd }) => fd),
      log: results.flatMap(({ log }) => log),
    };
  }

  test('hashes an object once, even if all threads open it at the same time', async () => {
    const { hashings, results, log } = await openTogether(false);
    expect(hashings).toBe(1);
    expect(results.every((fd) => fd > 0)).toBe(true);
    expect(new Set(results).size).toBe(THREADS);
    expect(log).toEqual([]);
  });

  test('returns EIO to all of them if it is damaged, and none waits forever', async () => {
    const { results, log } = await openTogether(true);
    expect(results).toEqual(Array(THREADS).fill(-5));
    // the threads of a mount log it once
    expect(log).toHaveLength(1);
  });
});
