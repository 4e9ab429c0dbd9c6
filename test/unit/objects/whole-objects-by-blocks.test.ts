/** Objects on a file system that is not this kernel's own: after hashing, a read may return other bytes. */
import { closeSync, fstatSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { EIO, EMFILE } from '../../../src/base/errno.ts';
import { BlockObjects } from '../../../src/objects/block-objects.ts';
import { BY_BLOCKS } from '../../../src/objects/content-source.ts';
import type { ObjectName } from '../../../src/objects/repository.ts';
import type { WholeObjectsOptions } from '../../../src/objects/whole-objects.ts';
import { emptyFileVersion } from '../../../src/system/file-status.ts';
import { useScratch } from '../store/scratch.ts';
import {
  BELIEVED,
  contentOf,
  expectGood,
  NAMED,
  open,
  type StoredObject,
  StoreFixture,
} from '../store/store-fixture.ts';
import type { WatchedRepository } from './watched-repository.ts';

const f = new StoreFixture(useScratch());

/** A store that does not trust those files of `far` with which `note` was called. */
function farStore(far: WatchedRepository, more: WholeObjectsOptions = {}, mode: 'open' | 'auto' | 'fsverity' = 'open') {
  const inodes = new Set<number>();
  const note = (object: ObjectName): void => {
    const status = emptyFileVersion();
    expect(far.status(object.digest, status)).toBe(0);
    inodes.add(status.ino);
  };
  const isKernelsOwn = (fd: number): boolean => !inodes.has(fstatSync(fd).ino);
  return { store: f.store(mode, undefined, { ...more, isKernelsOwn }), note };
}

/** A stand-in for BlockObjects. */
const adoptingBlocks = (adopt: BlockObjects['adopt']): BlockObjects => ({ adopt }) as unknown as BlockObjects;

describe('an object whose file system is not trusted', () => {
  test.each(['open', 'auto'] as const)('is not hashed, with verify=%s, and its descriptor is passed on', (mode) => {
    const adopted: [ObjectName, number][] = [];
    const blocks = adoptingBlocks((...given) => void adopted.push(given));
    const { store, note } = farStore(f.first, { blocks }, mode);
    const object = f.stored(f.first, f.second);
    note(object);
    expect(open(store, object)).toBe(BY_BLOCKS);
    expect([f.first.hashings, f.second.opens]).toEqual([0, 0]);
    expect(adopted.map(([{ index }]) => index)).toEqual([object.index]);
    expect(contentOf(adopted[0]?.[1] as number).equals(object.content)).toBe(true);
    expect(store.current(object)).toBe(-1);
    expect(f.log).toEqual([]);
  });

  test('is not opened if an earlier repository has a good copy on a trusted file system', () => {
    const { store, note } = farStore(f.second);
    const object = f.stored(f.first, f.second);
    note(object);
    expectGood(store, object);
    expect(f.second.opens).toBe(0);
  });

  test('serves in place of a bad copy on a trusted file system, with a line in the log', () => {
    const { store, note } = farStore(f.second);
    const object = f.stored(f.first, f.second);
    note(object);
    writeFileSync(f.first.pathOf(object), Buffer.alloc(object.size));
    expect(open(store, object)).toBe(BY_BLOCKS);
    expect(f.log).toHaveLength(1);
    expect(f.log[0]).toContain(`served from ${f.second.path} instead`);
  });

  test('is passed over if its size is wrong', () => {
    const { store, note } = farStore(f.first);
    const object = f.stored(f.first, f.second);
    note(object);
    truncateSync(f.first.pathOf(object), 10);
    expectGood(store, object);
  });

  test('is refused by verify=fsverity, even if its seal is right', () => {
    const measure = (): { algorithm: string; digest: Uint8Array } => ({ algorithm: 'sha256', digest: object.digest });
    const { store, note } = farStore(f.first, { measure }, 'fsverity');
    const object: StoredObject = f.stored(f.first);
    note(object);
    expect(open(store, object)).toBe(EIO);
    expect(f.log[0]).toContain('it is not sealed: its file system is not under the control of this kernel alone');
  });
});

test.each(['open', 'auto', 'off'] as const)(
  'if descriptors are short, with verify=%s, no descriptor is held for each open file',
  (mode) => {
    let adopted = 0;
    const adopt = (_: ObjectName, fd: number): void => {
      adopted++;
      closeSync(fd);
    };
    const store = f.store(mode, undefined, { ...BELIEVED, blocks: adoptingBlocks(adopt), mostFiles: 1 });
    const object = f.stored(f.second);
    expect(open(store, object)).toBe(BY_BLOCKS);
    expect([adopted, f.second.hashings, f.log]).toEqual([1, 0, []]);
    f.first.failing = EMFILE;
    expect(open(store, object)).toBe(BY_BLOCKS);
    expect([adopted, f.log]).toEqual([1, []]);
  },
);

test('verify=fsverity does not read by blocks, because the seal would not be checked', () => {
  const store = f.store('fsverity', undefined, { ...BELIEVED, mostFiles: 1, measure: () => EMFILE });
  expect(open(store, f.stored(f.first))).toBe(EIO);
});

test('a BlockObjects reads from the file that it took over, and from others if a block of it is bad', () => {
  const object = f.stored(f.second);
  const reader = new BlockObjects(
    [f.first, f.second],
    ({ digest }) => digest,
    f.state,
    (line) => void f.log.push(line),
  );
  const take = (): void => reader.adopt(object, f.second.open(object.digest) as number);
  const read = (): Buffer => {
    const into = Buffer.alloc(object.size);
    expect(reader.read(object, 0, into, () => NAMED)).toBe(object.size);
    return into;
  };
  take();
  f.second.reset();
  expect(read().equals(object.content)).toBe(true);
  expect(f.second.opens).toBe(0);
  take();
  writeFileSync(f.second.pathOf(object), Buffer.alloc(object.size));
  writeFileSync(f.first.pathOf(object), object.content);
  expect(read().equals(object.content)).toBe(true);
});

/** Longer than a ctime needs to settle: 50 ms. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 80));

describe('prefetch()', () => {
  test('verifies an object once, if it is verified as a whole', async () => {
    const object = f.stored(f.first);
    await settle();
    const store = f.store('open');
    store.prefetch(object);
    expect(f.first.hashings).toBe(1);
    f.first.reset();
    store.prefetch(object);
    expectGood(store, object);
    expect(f.first.hashings).toBe(0);
  });

  test('leaves no descriptor open, and logs nothing about missing objects', () => {
    const [object, missing] = [f.stored(f.first), f.object()];
    const blocks = new BlockObjects(
      [f.first],
      ({ digest }) => digest,
      f.state,
      (line) => void f.log.push(line),
    );
    const before = readdirSync('/proc/self/fd').length;
    for (const source of [f.store('auto'), f.store('off'), blocks]) {
      for (const one of [object, missing]) source.prefetch(one);
    }
    expect(readdirSync('/proc/self/fd').length).toBe(before);
    expect(f.log).toEqual([]);
    // the open fails, and the log names the object
    expect(open(f.store('auto'), missing)).toBe(EIO);
    expect(f.log).toHaveLength(1);
  });
});
