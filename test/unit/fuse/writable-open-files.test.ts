/** Which opens the kernel serves itself, and which ones go through the page cache. */
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { ELOOP, ENFILE, isErrno } from '../../../src/base/errno.ts';
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH, FOPEN_PASSTHROUGH } from '../../../src/fuse/abi.ts';
import { type Opened, THROUGH_CACHE } from '../../../src/fuse/open-files.ts';
import { allocateWritableOpenFileState, WritableOpenFiles } from '../../../src/fuse/writable-open-files.ts';
import { FakeRegistry, FakeTable } from './writable-client.ts';

const CACHED = { low: 0, high: 0, flags: FOPEN_KEEP_CACHE | FOPEN_NOFLUSH, backingId: 0 };
const STALE = { ...CACHED, flags: FOPEN_NOFLUSH };
const through = (backingId: number): Opened => ({
  ...{ low: 0x8000_0000, high: 0, flags: FOPEN_PASSTHROUGH | FOPEN_NOFLUSH },
  backingId,
});
/** Descriptors: the fakes do not look at them. */
const UPPER = 9;
const IMAGE = -1;
const KEPT = 4;

let table: FakeTable;
let registry: FakeRegistry;
let state: SharedArrayBuffer;
let files: WritableOpenFiles;

/** Another thread; with another `memory`, another server. */
const thread = (memory = state, isPassthrough = true): WritableOpenFiles =>
  new WritableOpenFiles(table, memory, isPassthrough ? registry : undefined, registry.asWriterOf);

beforeEach(() => {
  table = new FakeTable();
  registry = new FakeRegistry();
  state = allocateWritableOpenFileState(KEPT);
  files = thread();
});

/** Opened and released: its id is kept. */
function keep(ino: number): void {
  expect(files.add(ino, UPPER)).toMatchObject({ flags: FOPEN_PASSTHROUGH | FOPEN_NOFLUSH });
  expect(files.release(ino)).toBe(true);
}

describe('a file of the upper layer', () => {
  test('is left to the kernel, with one id for readers and writers', () => {
    expect(files.reopen(5)).toBeUndefined();
    expect(files.add(5, UPPER)).toEqual(through(1));
    expect(files.add(5, UPPER)).toEqual(through(1));
    expect(thread().reopen(5)).toEqual(through(1));
    expect([table.opens(5), table.backing(5)]).toEqual([3, 1]);
    expect([files.release(5), thread().release(5), files.release(5)]).toEqual([false, false, true]);
    // it is not open
    expect(files.release(5)).toBe(false);
    expect(table.opens(5)).toBe(0);
  });

  test('is registered by a thread that may not keep set-id bits: the fake looks', () => {
    files.add(5, UPPER);
    expect(registry.isWithout).toBe(false);
  });

  test('has the id of the open one even if the file system still saw it in the image', () => {
    files.add(5, UPPER);
    expect(files.add(5, IMAGE)).toEqual(through(1));
  });

  test('keeps its id after the last release', () => {
    keep(5);
    expect(files.reopen(5)).toEqual(through(1));
    files.release(5);
    expect(files.add(5, UPPER)).toEqual(through(1));
    expect([...registry.ids]).toEqual([1]);
  });
});

describe('content of the image', () => {
  test('goes through the page cache, which keeps its pages', () => {
    expect(files.add(5, IMAGE)).toEqual(CACHED);
    expect(table.backing(5)).toBe(THROUGH_CACHE);
    expect(files.reopen(5)).toBeUndefined();
    expect(files.release(5)).toBe(true);
    expect(table.backing(5)).toBe(0);
  });

  test('that was in the upper layer before a rebase is read anew once', () => {
    table.outdated.add(5);
    expect(files.add(5, IMAGE)).toEqual(STALE);
    expect(files.add(5, IMAGE)).toEqual(CACHED);
  });

  test('that was there, and is there again, keeps the pages of before for the image', () => {
    table.outdated.add(5);
    expect(files.add(5, UPPER)).toEqual(through(1));
    expect(table.outdated.has(5)).toBe(true);
  });

  test('that is copied up while it is open stays there until its last release', () => {
    files.add(5, IMAGE);
    expect(files.add(5, UPPER)).toEqual(CACHED);
    files.release(5);
    expect(files.add(5, UPPER)).toEqual(CACHED);
    files.release(5);
    files.release(5);
    expect(files.add(5, UPPER)).toEqual(through(1));
  });
});

describe('a file that the kernel does not accept', () => {
  test('goes through the page cache, without earlier pages', () => {
    registry.refusal = ELOOP;
    expect(files.add(5, UPPER)).toEqual(STALE);
    // nothing was written past the cache since it was opened
    expect(files.add(5, UPPER)).toEqual(CACHED);
    registry.refusal = undefined;
    expect(files.add(5, UPPER)).toEqual(CACHED);
    for (let i = 0; i < 3; i++) files.release(5);
    expect(files.add(5, UPPER)).toEqual(through(1));
  });

  test('without passthrough keeps all pages: every change goes through the cache', () => {
    files = thread(state, false);
    expect(files.add(5, UPPER)).toEqual(CACHED);
    expect(files.reopen(5)).toBeUndefined();
    expect(files.add(5, IMAGE)).toEqual(CACHED);
    expect(table.opens(5)).toBe(2);
    expect([files.release(5), files.release(5)]).toEqual([false, true]);
    expect(table.backing(5)).toBe(0);
  });

  test('is not counted if the table has no row for it', () => {
    table.unknown.add(5);
    expect(files.add(5, UPPER)).toBe(ENFILE);
    expect(files.reopen(5)).toBeUndefined();
    expect(files.release(5)).toBe(false);
    files.unnamed(5);
    files.forgotten(5);
    expect(registry.ids.size).toBe(0);
  });
});

describe('a file whose last name is gone', () => {
  test('keeps no id: it would pin the blocks', () => {
    keep(5);
    table.nameless.add(5);
    files.unnamed(5);
    expect([registry.ids.size, table.backing(5)]).toEqual([0, 0]);
  });

  test('keeps its id while it is open', () => {
    files.add(5, UPPER);
    table.nameless.add(5);
    files.unnamed(5);
    expect(files.add(5, UPPER)).toEqual(through(1));
    files.release(5);
    expect(registry.ids.size).toBe(1);
    expect(files.release(5)).toBe(true);
    expect(registry.ids.size).toBe(0);
  });

  test('never had one, and gets one: its id is kept from then on', () => {
    table.nameless.add(5);
    files.add(5, UPPER);
    table.nameless.delete(5);
    files.release(5);
    expect(files.reopen(5)).toEqual(through(1));
  });

  test('is read from the image: there is no id to close', () => {
    files.add(5, IMAGE);
    table.nameless.add(5);
    files.unnamed(5);
    expect(files.add(5, IMAGE)).toEqual(CACHED);
  });
});

describe('a file that the kernel forgets', () => {
  test('has no id any more', () => {
    keep(5);
    files.forgotten(5);
    expect([registry.ids.size, table.backing(5)]).toEqual([0, 0]);
  });

  test('keeps its count if the RELEASE is still to come', () => {
    files.add(5, UPPER);
    files.forgotten(5);
    expect([table.opens(5), registry.ids.size]).toEqual([1, 1]);
    expect(files.release(5)).toBe(true);
  });

  test('is no longer open if an earlier server counted too much', () => {
    files.add(5, UPPER);
    files.add(6, IMAGE);
    const next = thread(allocateWritableOpenFileState(KEPT));
    next.restore([5, 6]);
    next.forgotten(5);
    next.forgotten(6);
    expect([table.opens(5), table.backing(5), table.opens(6), table.backing(6)]).toEqual([0, 0, 0, 0]);
    expect(registry.ids.size).toBe(0);
  });
});

describe('ids of closed files', () => {
  test('are as many as there is room for; the one that was not opened again goes first', () => {
    for (const ino of [1, 2, 3, 4]) keep(ino);
    keep(1);
    keep(5);
    expect([...registry.ids]).toEqual([1, 3, 4, 5]);
    expect(files.reopen(1)).toEqual(through(1));
    expect(files.reopen(2)).toBeUndefined();
  });

  test('of open files are never closed, and then none is kept', () => {
    for (const ino of [1, 2, 3, 4]) keep(ino);
    for (const ino of [1, 2, 3, 4]) files.reopen(ino);
    keep(5);
    expect([...registry.ids]).toEqual([1, 2, 3, 4]);
    expect(files.reopen(5)).toBeUndefined();
  });

  test('leave room when their files lose their names', () => {
    for (const ino of [1, 2, 3, 4]) keep(ino);
    table.nameless.add(1);
    files.unnamed(1);
    keep(5);
    expect([...registry.ids]).toEqual([2, 3, 4, 5]);
  });

  test('are not kept if nothing is to be kept', () => {
    state = allocateWritableOpenFileState(0);
    files = thread();
    keep(5);
    expect(registry.ids.size).toBe(0);
  });
});

describe('the next server', () => {
  const next = (kept = KEPT): WritableOpenFiles => thread(allocateWritableOpenFileState(kept));

  test('continues with the id of an open file, and closes it after the last release', () => {
    files.add(5, UPPER);
    files.add(5, UPPER);
    files = next(0);
    files.restore([5]);
    expect(files.add(5, UPPER)).toEqual(through(1));
    expect([files.release(5), files.release(5), files.release(5)]).toEqual([false, false, true]);
    expect(registry.ids.size).toBe(0);
  });

  test('does not count a RELEASE that the earlier one may have counted', () => {
    files.add(5, UPPER);
    files = next();
    files.restore([5]);
    expect(files.release(5, true)).toBe(false);
    expect(table.opens(5)).toBe(1);
  });

  test('keeps the ids of closed files, as many as it has room for', () => {
    for (const ino of [1, 2, 3]) keep(ino);
    files = next(2);
    files.restore([1, 2, 3, 4]);
    expect([...registry.ids]).toEqual([2, 3]);
    expect([files.reopen(2), files.reopen(3)]).toEqual([through(2), through(3)]);
  });

  test('closes the id of a file that lost its name as the server was killed', () => {
    keep(5);
    table.nameless.add(5);
    files = next();
    files.restore([5]);
    expect(registry.ids.size).toBe(0);
  });

  test('forgets that a file went through the cache if it is closed', () => {
    table.backingOf[5] = THROUGH_CACHE;
    files = next();
    files.restore([5]);
    expect(files.add(5, UPPER)).toEqual(through(1));
  });
});

test('the first server of a mount ignores what an earlier mount left in the table', () => {
  files.add(5, UPPER);
  files.add(6, IMAGE);
  keep(7);
  registry.ids.clear();
  files = thread(allocateWritableOpenFileState(KEPT));
  files.begin([5, 6, 7]);
  for (const ino of [5, 6, 7]) {
    expect([table.opens(ino), table.backing(ino), table.mark(ino)]).toEqual([0, 0, 0]);
    keep(ino);
  }
  expect(registry.ids.size).toBe(3);
});

describe('for any sequence of calls', () => {
  /** One open of the kernel. */
  interface Held {
    readonly ino: number;
    readonly opened: Opened;
  }

  const action = fc.record({ ino: fc.integer({ min: 1, max: 6 }), what: fc.nat(12) });

  test('an inode is open in one way only, through an id that exists', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (actions) => {
        table = new FakeTable();
        registry = new FakeRegistry();
        state = allocateWritableOpenFileState(2);
        let threads = [thread(), thread()];
        /** Inodes that are copied up. */
        const upper = new Set<number>();
        const held: Held[] = [];
        actions.forEach(({ ino, what }, i) => {
          const openFiles = threads[i % 2] as WritableOpenFiles;
          if (what < 4) {
            registry.refusal = what === 3 ? ELOOP : undefined;
            if (what > 1) upper.add(ino);
            const known = what === 0 ? openFiles.reopen(ino) : undefined;
            const opened = known ?? openFiles.add(ino, upper.has(ino) ? UPPER : IMAGE);
            if (!isErrno(opened)) held.push({ ino, opened });
          } else if (what < 9) {
            const at = held.findIndex((file) => file.ino === ino);
            if (at >= 0) expect(openFiles.release(ino)).toBe(held.splice(at, 1).length > 0 && !isOpen(held, ino));
          } else if (what === 9) {
            table.nameless.add(ino);
            openFiles.unnamed(ino);
          } else if (what === 10) table.nameless.delete(ino);
          else if (what === 11 && !isOpen(held, ino)) openFiles.forgotten(ino);
          else if (what === 12) {
            state = allocateWritableOpenFileState(2);
            threads = [thread(), thread()];
            threads[0]?.restore([1, 2, 3, 4, 5, 6]);
          }
          expectConsistent(held);
        });
      }),
      { numRuns: 1000 },
    );
  });

  const isOpen = (held: readonly Held[], ino: number): boolean => held.some((file) => file.ino === ino);

  function expectConsistent(held: readonly Held[]): void {
    const kept = new Set(registry.ids);
    for (const ino of [1, 2, 3, 4, 5, 6]) {
      const own = held.filter((file) => file.ino === ino);
      expect(table.opens(ino)).toBe(own.length);
      const ids = new Set(own.map(({ opened }) => opened.backingId));
      expect(ids.size).toBeLessThanOrEqual(1);
      for (const id of ids) expect(id === 0 || registry.ids.has(id)).toBe(true);
      // every id that exists is known: none keeps a file open without end
      if (table.backing(ino) > 0) expect(kept.delete(table.backing(ino))).toBe(true);
      if (table.nameless.has(ino) && own.length === 0) expect(table.backing(ino)).toBe(0);
    }
    expect(kept.size).toBe(0);
  }

  test('a server that is killed after any store leaves no count too low and no id that does not exist', () => {
    const killed = new Error('killed');
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), fc.nat(120), (actions, stores) => {
        table = new FakeTable();
        registry = new FakeRegistry();
        files = thread(allocateWritableOpenFileState(2));
        const held = new Map<number, number>();
        let left = stores;
        table.changed = () => {
          if (left-- === 0) throw killed;
        };
        try {
          for (const { ino, what } of actions) {
            const count = held.get(ino) ?? 0;
            if (what < 5) {
              files.add(ino, UPPER);
              held.set(ino, count + 1);
            } else if (what < 10 && count > 0) {
              // the kernel no longer counts the open when the RELEASE arrives
              held.set(ino, count - 1);
              files.release(ino);
            }
          }
        } catch (error) {
          if (error !== killed) throw error;
        }
        table.changed = () => undefined;
        files = thread(allocateWritableOpenFileState(2));
        files.restore([1, 2, 3, 4, 5, 6]);
        for (const ino of [1, 2, 3, 4, 5, 6]) {
          expect(table.opens(ino)).toBeGreaterThanOrEqual(held.get(ino) ?? 0);
          if (table.backing(ino) > 0) expect(registry.ids.has(table.backing(ino))).toBe(true);
          files.forgotten(ino);
          expect([table.opens(ino), table.backing(ino)]).toEqual([0, 0]);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
