import { writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { allocateLayerState, LayerState } from '../../../src/layered/layer-state.ts';
import { bundleOf } from '../../support/bundle.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const INO = 2 ** 40 + 5;

test('the lock may be taken again by the thread that holds it', () => {
  const state = new LayerState(allocateLayerState());
  expect(state.hold(() => state.hold(() => 7))).toBe(7);
  expect(() =>
    state.hold(() => {
      throw new Error('failed');
    }),
  ).toThrow('failed');
  expect(state.hold(() => 8)).toBe(8);
});

test('an inode is busy while its content is copied, and the lock is free meanwhile', () => {
  const memory = allocateLayerState();
  const [one, other] = [new LayerState(memory), new LayerState(memory)];
  one.hold(() => {
    one.copying(INO, () => {
      // the other thread gets the lock, and waits for no other inode
      expect(other.hold(() => other.waitWhileBusy(INO + 1))).toBe(false);
      expect(other.hold(() => other.waitWhileBusy(0))).toBe(false);
      expect(other.hold(() => other.copying(INO + 1, () => 3))).toBe(3);
    });
    expect(one.waitWhileBusy(INO)).toBe(false);
  });
});

test('a copy that fails ends, too', () => {
  const state = new LayerState(allocateLayerState());
  state.hold(() => {
    expect(() =>
      state.copying(INO, () => {
        throw new Error('failed');
      }),
    ).toThrow('failed');
    expect(state.waitWhileBusy(INO)).toBe(false);
  });
});

test('a thread waits until the copy of another one has ended', async () => {
  const memory = allocateLayerState();
  const signals = new Int32Array(new SharedArrayBuffer(8));
  writeFileSync(at('layer-state.mjs'), await bundleOf(`${import.meta.dirname}/../../../src/layered/layer-state.ts`));
  writeFileSync(
    at('thread.mjs'),
    `import { parentPort, workerData } from 'node:worker_threads';
     import { LayerState } from './layer-state.mjs';
     const state = new LayerState(workerData.memory);
     state.hold(() => state.copying(${INO}, () => {
       parentPort.postMessage('copying');
       Atomics.wait(workerData.signals, 0, 0);
       Atomics.store(workerData.signals, 1, 1);
     }));`,
  );
  const worker = new Worker(at('thread.mjs'), { workerData: { memory, signals } });
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  const state = new LayerState(memory);
  state.hold(() => {
    // the other one needs the lock for its end
    Atomics.store(signals, 0, 1);
    Atomics.notify(signals, 0);
    expect(state.waitWhileBusy(INO)).toBe(true);
    expect(Atomics.load(signals, 1)).toBe(1);
  });
  await new Promise((resolve) => worker.once('exit', resolve));
});
