import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { EACCES, EBADF, EINVAL, ENODEV, ENOMEM, isErrno } from '../../../src/base/errno.ts';
import { mapFile } from '../../../src/system/mapped-file.ts';
import { memfdCreate } from '../../../src/system/memfd.ts';
import { bundleOf } from '../../support/bundle.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const PAGE = 4096;

function create(name: string, size: number): number {
  const fd = openSync(at(name), 'w+');
  ftruncateSync(fd, size);
  return fd;
}

function map(fd: number, length: number): ArrayBuffer {
  const memory = mapFile(fd, length);
  if (isErrno(memory)) throw new Error(`errno ${memory}`);
  return memory;
}

test('stored bytes are in the file, and in all mappings, also after the descriptor is closed', () => {
  const fd = create('shared', 3 * PAGE);
  const [one, other] = [new Uint8Array(map(fd, 3 * PAGE)), new Int32Array(map(fd, 3 * PAGE))];
  closeSync(fd);
  expect([one.length, other.length]).toEqual([3 * PAGE, (3 * PAGE) / 4]);
  one[5000] = 7;
  other[0] = -1;
  Atomics.add(other, 1, 0x01020304);
  expect([...one.subarray(0, 8)]).toEqual([255, 255, 255, 255, 4, 3, 2, 1]);
  expect(readFileSync(at('shared')).equals(one)).toBe(true);
  const again = openSync(at('shared'), 'r+');
  expect(new Uint8Array(map(again, 5001))[5000]).toBe(7);
  closeSync(again);
});

test('a sparse file of 4 GiB costs nothing until it is used', () => {
  const size = 2 ** 32;
  const fd = create('large', size);
  const view = new DataView(map(fd, size));
  closeSync(fd);
  expect(view.byteLength).toBe(size);
  view.setUint32(size - 4, 0xdeadbeef, true);
  expect(view.getUint32(size - 4, true)).toBe(0xdeadbeef);
  expect(view.getUint32(size / 2, true)).toBe(0);
  expect(statSync(at('large')).blocks).toBeLessThan(100);
});

test('a file that no ArrayBuffer can hold, or that has no room in memory, is refused', () => {
  // files in memory may have such sizes. Node 20 has buffers of up to 4 GiB; later ones stop where the kernel does
  const fd = memfdCreate('huge') as number;
  for (const size of [2 ** 47, 2 ** 52]) {
    ftruncateSync(fd, size);
    expect(mapFile(fd, size)).toBe(ENOMEM);
  }
  closeSync(fd);
});

test('returns the error', () => {
  const fd = create('short', PAGE);
  expect(mapFile(fd, PAGE + 1)).toBe(EINVAL);
  for (const length of [0, -1, 1.5, Number.NaN, 2 ** 60]) expect(mapFile(fd, length)).toBe(EINVAL);
  closeSync(fd);
  expect(mapFile(-1, PAGE)).toBe(EBADF);
  const reading = openSync(at('short'), 'r');
  expect(mapFile(reading, PAGE)).toBe(EACCES);
  closeSync(reading);
  const directory = openSync('/', 'r');
  expect([EACCES, ENODEV]).toContain(mapFile(directory, 1));
  closeSync(directory);
});

test('several threads count in one file', async () => {
  const [threads, times] = [4, 20_000];
  writeFileSync(at('mapped-file.mjs'), await bundleOf(`${import.meta.dirname}/../../../src/system/mapped-file.ts`));
  writeFileSync(
    at('thread.mjs'),
    `import { openSync } from 'node:fs';
     import { workerData } from 'node:worker_threads';
     import { mapFile } from './mapped-file.mjs';
     const words = new Int32Array(mapFile(openSync(workerData.path, 'r+'), ${PAGE}));
     // all begin at once
     Atomics.add(words, 0, 1);
     while (Atomics.load(words, 0) < ${threads});
     for (let i = 0; i < ${times}; i++) {
       Atomics.add(words, 1, 1);
       words[16 + workerData.thread]++;
     }`,
  );
  const fd = create('counted', PAGE);
  const words = new Int32Array(map(fd, PAGE));
  closeSync(fd);
  const workers = Array.from(
    { length: threads },
    (_, thread) => new Worker(at('thread.mjs'), { workerData: { thread, path: at('counted') } }),
  );
  const ends = workers.map(
    (worker) =>
      new Promise((resolve, reject) => {
        worker.once('exit', resolve);
        worker.once('error', reject);
      }),
  );
  expect(await Promise.all(ends)).toEqual(workers.map(() => 0));
  expect(Atomics.load(words, 1)).toBe(threads * times);
  expect([...words.subarray(16, 16 + threads)]).toEqual(workers.map(() => times));
});
