import { renameSync, statSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { EIO } from '../../../src/base/errno.ts';
import { fileIdentity } from '../../../src/base/file-identity.ts';
import type { Repository } from '../../../src/objects/repository.ts';
import { useScratch } from '../store/scratch.ts';
import { COUNT, DAMAGES, expectGood, open, type StoredObject, StoreFixture } from '../store/store-fixture.ts';

const f = new StoreFixture(useScratch());

/** Longer than a ctime needs to settle: 50 ms. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 80));

/**
 * An object that is good in the first repository and bad in the second, in files written within one tick: of one ctime.
 */
function storedAtOneTime(): StoredObject {
  for (let attempt = 0; attempt < COUNT; attempt++) {
    const object = f.object();
    writeFileSync(f.first.pathOf(object), object.content);
    writeFileSync(f.second.pathOf(object), Buffer.alloc(object.size));
    const [good, bad] = [f.first, f.second].map((repository) => statSync(repository.pathOf(object)));
    if (good?.ctimeMs === bad?.ctimeMs) return object;
  }
  throw new Error('no two files got the same ctime');
}

describe('which file is current', () => {
  const identityOf = (object: StoredObject, repository = f.first): number =>
    fileIdentity(statSync(repository.pathOf(object)));

  test('is known after verification, without hashing or opening it', async () => {
    const object = f.stored(f.first);
    await settle();
    const store = f.store();
    expect(store.current(object)).toBe(-1);
    expectGood(store, object);
    f.first.reset();
    expect(store.current(object)).toBe(identityOf(object));
    expect([f.first.hashings, f.first.opens, f.first.looks]).toEqual([0, 0, 1]);
  });

  test('is known from a later repository if an earlier one does not have it', async () => {
    const object = f.stored(f.second);
    await settle();
    expectGood(f.store(), object);
    expect(f.store().current(object)).toBe(identityOf(object, f.second));
  });

  test('is not known after it was written to, replaced, or removed', async () => {
    const changes: ((path: string, content: Buffer) => void)[] = [
      (path, content) => writeFileSync(path, content),
      (path, content) => {
        writeFileSync(`${path}.new`, content);
        renameSync(`${path}.new`, path);
      },
      unlinkSync,
    ];
    for (const change of changes) {
      const object = f.stored(f.first);
      await settle();
      const store = f.store();
      expectGood(store, object);
      change(f.first.pathOf(object), object.content);
      expect(store.current(object)).toBe(-1);
    }
  });

  test('without verifying is any regular file of the right size', () => {
    const object = f.stored(f.first);
    const store = f.store('off');
    expect(store.current(object)).toBe(identityOf(object));
    truncateSync(f.first.pathOf(object), 10);
    expect(store.current(object)).toBe(-1);
    unlinkSync(f.first.pathOf(object));
    symlinkSync('/etc/passwd', f.first.pathOf(object));
    expect(store.current(object)).toBe(-1);
  });
});

describe('a verified file', () => {
  test('is not hashed again', async () => {
    const object = f.stored(f.first);
    await settle();
    const store = f.store();
    for (let i = 0; i < 3; i++) expectGood(store, object);
    expect(f.first.hashings).toBe(1);
  });

  test('is known to the other threads of the mount', async () => {
    const object = f.stored(f.first);
    await settle();
    expectGood(f.store(), object);
    expectGood(f.store(), object);
    expect(f.first.hashings).toBe(1);
  });

  test('is hashed again as long as a change could go unnoticed', () => {
    const object = f.stored(f.first);
    const { ctimeMs } = statSync(f.first.pathOf(object));
    const clock = vi.spyOn(Date, 'now').mockReturnValue(ctimeMs + 40);
    const store = f.store();
    for (let i = 0; i < 3; i++) expectGood(store, object);
    expect(f.first.hashings).toBe(3);
    clock.mockReturnValue(ctimeMs + 60);
    for (let i = 0; i < 3; i++) expectGood(store, object);
    expect(f.first.hashings).toBe(4);
    clock.mockRestore();
  });

  test('is hashed again if its ctime changed', async () => {
    const object = f.stored(f.first);
    await settle();
    const store = f.store();
    expectGood(store, object);
    writeFileSync(f.first.pathOf(object), object.content);
    await settle();
    expectGood(store, object);
    expectGood(store, object);
    expect(f.first.hashings).toBe(2);
  });

  test.each(DAMAGES)('is not returned any more once it has %s', async (_what, damage) => {
    const object = f.stored(f.first);
    await settle();
    const store = f.store();
    expectGood(store, object);
    damage(f.first.pathOf(object), object.content);
    expect(open(store, object)).toBe(EIO);
    await settle();
    expect(open(store, object)).toBe(EIO);
  });

  test('is hashed again if another file took its place, with an old mtime', async () => {
    const object = f.stored(f.first);
    await settle();
    const store = f.store();
    expectGood(store, object);
    unlinkSync(f.first.pathOf(object));
    writeFileSync(f.first.pathOf(object), Buffer.alloc(object.size));
    expect(open(store, object)).toBe(EIO);
  });

  test('in one repository does not count as verified in another', async () => {
    const object = f.stored(f.first, f.second);
    await settle();
    expectGood(f.store(), object);
    writeFileSync(f.second.pathOf(object), Buffer.alloc(object.size));
    await settle();
    expect(open(f.store('open', [f.second]), object)).toBe(EIO);
  });

  test('is distinguished from another file with the same ctime', async () => {
    const object = storedAtOneTime();
    await settle();
    expectGood(f.store(), object);
    expect(open(f.store('open', [f.second]), object)).toBe(EIO);
  });

  test('of one object does not affect its neighbours', async () => {
    const objects = Array.from({ length: COUNT }, () => f.stored(f.first));
    await settle();
    const store = f.store();
    for (const object of objects) expectGood(store, object);
    expect(f.first.hashings).toBe(COUNT);
    for (const object of objects) expectGood(store, object);
    expect(f.first.hashings).toBe(COUNT);
  });

  test('is identified by ctime and inode, so a failed verification is not remembered', async () => {
    const object = f.stored(f.first);
    writeFileSync(f.first.pathOf(object), Buffer.alloc(object.size));
    await settle();
    const store = f.store();
    expect(open(store, object)).toBe(EIO);
    writeFileSync(f.first.pathOf(object), object.content);
    expect(statSync(f.first.pathOf(object)).size).toBe(object.size);
    expectGood(store, object);
  });
});

describe('a thread that asks for an object that another one hashes', () => {
  /**
   * Acts as the other thread: holds the object's word of the state for `ms`, then releases it as the tested code does.
   * @returns whether it has released it
   */
  async function busyFor(word: number, ms: number): Promise<() => boolean> {
    const released = new Int32Array(new SharedArrayBuffer(4));
    const words = new Int32Array(f.state.buffer, f.state.count * 12, f.state.count);
    Atomics.store(words, word, 1);
    const worker = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads');
       parentPort.once('message', () => {
         const { words, word, ms, released } = workerData;
         Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
         Atomics.store(released, 0, 1);
         Atomics.store(words, word, 0);
         Atomics.notify(words, word);
       });`,
      { eval: true, workerData: { words, word, ms, released } },
    );
    await new Promise((resolve) => worker.once('online', resolve));
    worker.postMessage('go');
    worker.unref();
    onTestFinished(async () => {
      await worker.terminate();
      Atomics.store(words, word, 0);
    });
    return () => Atomics.load(released, 0) === 1;
  }

  test('waits for it, then checks the file itself', async () => {
    const object = f.stored(f.first);
    await settle();
    const isReleased = await busyFor(object.index, 200);
    expectGood(f.store(), object);
    expect(isReleased()).toBe(true);
    expect(f.first.hashings).toBe(1);
  });

  test('does not wait for other objects, or if nothing is verified', async () => {
    const [busy, object] = [f.stored(f.first), f.stored(f.first)];
    const isReleased = await busyFor(busy.index, 60_000);
    expectGood(f.store(), object);
    expectGood(f.store('off'), busy);
    expect(isReleased()).toBe(false);
  });

  test('continues after a failed verification, too', () => {
    const object = f.stored(f.first);
    truncateSync(f.first.pathOf(object), 1);
    expect(open(f.store(), object)).toBe(EIO);
    expect(open(f.store(), object)).toBe(EIO);
    expect([...new Int32Array(f.state.buffer, f.state.count * 12, f.state.count)]).toEqual(Array(COUNT).fill(0));
  });
});

test('an object whose file cannot be read is released: the next open hashes it', async () => {
  const object = f.stored(f.first);
  await settle();
  const failing: Repository = {
    path: f.first.path,
    uuid: f.first.uuid,
    get hash(): never {
      throw new Error('of the disk');
    },
    open: (digest) => f.first.open(digest),
    glance: (digest, out) => f.first.glance(digest, out),
    status: (digest, out) => f.first.status(digest, out),
    size: (digest) => f.first.size(digest),
  };
  expect(open(f.store('open', [failing]), object)).toBe(EIO);
  expectGood(f.store(), object);
  expect(f.first.hashings).toBe(1);
});
