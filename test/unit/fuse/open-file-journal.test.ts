import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ELOOP, type Errno, isErrno } from '../../../src/base/errno.ts';
import { fileIdentity } from '../../../src/base/file-identity.ts';
import type { Filesystem } from '../../../src/fs/filesystem.ts';
import { OpenFileJournal } from '../../../src/fuse/open-file-journal.ts';
import {
  allocateOpenFileState,
  type BackingRegistry,
  type Journal,
  type Opened,
  OpenFiles,
  type RestoredFile,
  THROUGH_CACHE,
} from '../../../src/fuse/open-files.ts';
import { explore, loadStepwise, type Program, type Stepwise } from '../../support/interleavings.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const RECORD = 12;
const HEADER = 16;

let fd: number;
let journal: OpenFileJournal;

beforeEach(() => {
  fd = openSync(at('journal'), 'w+');
  journal = new OpenFileJournal(fd);
});
afterEach(() => closeSync(fd));

const restored = (): RestoredFile[] => [...new OpenFileJournal(fd).entries()];

describe('the journal of open files', () => {
  test('is empty at first', () => {
    expect(restored()).toEqual([]);
  });

  test('shows the next server the last record of each slot, including the first and the last slot', () => {
    const last = 3_000_000;
    journal.write(0, 7, 1, 0xffff_ffff);
    journal.write(last, 0x7fff_ffff, 0x7fff_ffff, 1);
    journal.write(341, THROUGH_CACHE, 2, 0); // this record lies in two pages
    journal.write(5, 8, 1, 3);
    journal.write(5, 8, 0, 3);
    journal.write(6, 9, 1, 3);
    journal.write(6, 0, 0, 3);
    expect(restored()).toEqual([
      { slot: 0, backing: 7, opens: 1, identity: 0xffff_ffff },
      { slot: 5, backing: 8, opens: 0, identity: 3 },
      { slot: 341, backing: THROUGH_CACHE, opens: 2, identity: 0 },
      { slot: last, backing: 0x7fff_ffff, opens: 0x7fff_ffff, identity: 1 },
    ]);
    expect(fstatSync(fd).size).toBe(HEADER + (last + 1) * RECORD);
  });

  test('keeps the value of older and newer versions for the page cache: -1', () => {
    journal.write(0, THROUGH_CACHE, 1, 0);
    const written = Buffer.alloc(4);
    readSync(fd, written, 0, 4, HEADER);
    expect(written.readInt32LE(0)).toBe(-1);
    expect(restored()[0]?.backing).toBe(THROUGH_CACHE);
    const old = Buffer.alloc(RECORD);
    old.writeInt32LE(-1, 0);
    old.writeInt32LE(4, 4);
    writeSync(fd, old, 0, RECORD, HEADER + RECORD);
    expect(restored()[1]).toEqual({ slot: 1, backing: THROUGH_CACHE, opens: 4, identity: 0 });
  });

  test.each([8_190, 8_191, 8_192, 8_193])('is read whole if %i records fill a piece of reading, or nearly', (count) => {
    for (const slot of [0, count - 1]) journal.write(slot, slot + 1, 1, 1);
    expect(restored().map(({ slot }) => slot)).toEqual([0, count - 1]);
  });

  test('is read up to the last whole record if it ends within one', () => {
    journal.write(0, 7, 1, 3);
    journal.write(1, 8, 1, 3);
    for (const cut of [1, 4, 8, 11]) {
      ftruncateSync(fd, HEADER + 2 * RECORD - cut);
      expect(restored()).toEqual([{ slot: 0, backing: 7, opens: 1, identity: 3 }]);
    }
    ftruncateSync(fd, 3);
    expect(restored()).toEqual([]);
  });

  test('reads no count below zero, whatever was written', () => {
    journal.write(0, 7, -3, 3);
    expect(restored()).toEqual([{ slot: 0, backing: 7, opens: 0, identity: 3 }]);
  });

  test('throws if it cannot be written or read: a server must not guess', () => {
    const unwritable = openSync(at('journal'), 'r');
    const unreadable = openSync(at('journal'), 'w');
    try {
      expect(() => new OpenFileJournal(unwritable).write(0, 1, 1, 1)).toThrow('cannot record an open file');
      expect(() => new OpenFileJournal(unwritable).nextEpoch()).toThrow('cannot count the servers');
      expect(() => new OpenFileJournal(unreadable).nextEpoch()).toThrow('EBADF');
      expect(() => [...new OpenFileJournal(unreadable).entries()]).toThrow('EBADF');
    } finally {
      closeSync(unwritable);
      closeSync(unreadable);
    }
  });

  test('numbers the servers from 1, and continues after the last number', () => {
    journal.write(0, 7, 1, 3);
    expect([1, 2, 3].map(() => new OpenFileJournal(fd).nextEpoch())).toEqual([1, 2, 3]);
    const header = Buffer.alloc(4);
    header.writeUInt32LE(0xffff_fffe);
    writeSync(fd, header, 0, 4, 0);
    expect([1, 2].map(() => journal.nextEpoch())).toEqual([0xffff_ffff, 1]);
    expect(restored()).toHaveLength(1);
  });
});

const SLOTS = 3;
/** A descriptor of a file for each slot. */
const objects: number[] = [];
beforeAll(() => {
  for (let i = 0; i < SLOTS; i++) objects.push(openSync(at(`object${i}`), 'w+'));
});
afterAll(() => {
  for (const object of objects) closeSync(object);
});
const identityOf = (slot: number): number => fileIdentity(fstatSync(objects[slot] as number));

const fs = {
  slots: SLOTS,
  open: (slot: number) => ({ fd: objects[slot], identity: identityOf(slot), handle: 0, slot }),
  current: identityOf,
  release: () => undefined,
} as unknown as Filesystem;

/** Backing id, number of opens and identity of a slot, as in the journal. */
type Fields = [backing: number, opens: number, identity: number];

/** The kernel's state of an inode: how it is read, and how often it is open. */
interface KernelInode {
  used: number;
  count: number;
}

const usedBy = ({ backingId }: Opened): number => (backingId === 0 ? THROUGH_CACHE : backingId);

/** A server that takes over with these records. */
function nextServer(records: readonly Fields[], registry: BackingRegistry, written?: Journal): OpenFiles {
  const next = new OpenFiles(fs, allocateOpenFileState(SLOTS, 1), registry, written);
  next.restore(records.map(([backing, opens, identity], slot) => ({ slot, backing, opens, identity })));
  return next;
}

const ANY: BackingRegistry = { open: () => 1_000, close: () => undefined };

/** Throws if a server that finds these records would give an answer that the kernel rejects. */
function expectSafe(records: readonly Fields[], kernel: readonly KernelInode[], ids: ReadonlySet<number>): void {
  for (const [slot, [backing, opens]] of records.entries()) {
    const { used, count } = kernel[slot] as KernelInode;
    expect(opens).toBeGreaterThanOrEqual(count);
    if (backing > 0) expect(ids).toContain(backing);
    if (count === 0) continue;
    const next = nextServer(records, ANY);
    expect(usedBy((next.reopen(slot) ?? next.open(slot)) as Opened)).toBe(used);
  }
}

test('a server that dies at any point leaves no count too low, and no id that the kernel does not have', () => {
  const what = fc.constantFrom('open' as const, 'reopen' as const, 'close' as const, 'refuse' as const, 'die' as const);
  fc.assert(
    fc.property(fc.array(fc.record({ slot: fc.nat(SLOTS - 1), what }), { maxLength: 40 }), (steps) => {
      const ids = new Set<number>();
      const free: number[] = [];
      let nextId = 1;
      const kernel = Array.from({ length: SLOTS }, (): KernelInode => ({ used: 0, count: 0 }));
      const records = Array.from({ length: SLOTS }, (): Fields => [0, 0, 0]);
      const check = (): void => expectSafe(records, kernel, ids);
      let refuses = false;
      const registry: BackingRegistry = {
        open: () => {
          if (refuses) return ELOOP;
          const id = free.pop() ?? nextId++;
          ids.add(id);
          check();
          return id;
        },
        close: (id) => {
          expect(ids.delete(id)).toBe(true);
          free.push(id); // the kernel may use it for the next file
          check();
        },
      };
      const written: Journal = {
        write: (slot, ...fields) => {
          // field by field, as at the end of a page
          for (const [i, value] of fields.entries()) {
            (records[slot] as Fields)[i] = value;
            check();
          }
        },
      };
      let files = nextServer(records, registry, written);
      const handles = records.map((): Opened[] => []);
      for (const { slot, what } of steps) {
        const held = handles[slot] as Opened[];
        const inode = kernel[slot] as KernelInode;
        if (what === 'refuse') refuses = !refuses;
        else if (what === 'die') files = nextServer(records, registry, written);
        else if (what === 'close') {
          const handle = held.pop();
          if (handle === undefined) continue;
          inode.count--;
          files.release(handle.low, handle.high);
        } else {
          const opened = what === 'reopen' ? files.reopen(slot) : files.open(slot);
          if (opened === undefined) continue;
          // the answer arrives
          if (isErrno(opened)) throw new Error(`open() gave ${opened}`);
          if (inode.count > 0) expect(usedBy(opened)).toBe(inode.used);
          inode.used = usedBy(opened);
          inode.count++;
          held.push(opened);
        }
        check();
        // no identity is left that could be taken for that of the next id
        expect(records.filter(([backing, , identity]) => backing <= 0 && identity !== 0)).toEqual([]);
      }
    }),
    { numRuns: 500 },
  );
});

const CLOSED: KernelInode = { used: 0, count: 0 };

describe('every interleaving of two threads that open and close one file', () => {
  interface StepwiseOpenFiles {
    open: Stepwise<[slot: number], Opened | Errno>;
    reopen: Stepwise<[slot: number], Opened | undefined>;
    release: Stepwise<[low: number, high: number], void>;
  }
  let module: { OpenFiles: new (...args: readonly unknown[]) => StepwiseOpenFiles };
  beforeAll(async () => {
    // the methods of the file system, the registry and the journal
    const given = ['open', 'release', 'close', 'write', 'section'];
    const path = new URL('../../../src/fuse/open-files.ts', import.meta.url).pathname;
    module = await loadStepwise(path, {}, given);
  });

  test.each([
    ['ids are kept', 1],
    ['no id is kept', 0],
  ])('and die at any point, if %s', (_name, kept) => {
    const length = allocateOpenFileState(1, kept).byteLength;
    /** Behind the state of OpenFiles: the record; ids that are registered, as bits; the kernel's inode. */
    const RECORD = Math.ceil(length / 4);
    const [IDS, USED, COUNT] = [RECORD + 3, RECORD + 4, RECORD + 5];
    const { states } = explore(() => {
      const memory = new SharedArrayBuffer((RECORD + 6) * 4);
      const words = new Int32Array(memory);
      new Uint8Array(memory).set(new Uint8Array(allocateOpenFileState(1, kept)));
      const read = (index: number): number => Atomics.load(words, index);
      const stepwiseFs = {
        slots: 1,
        *open(): Program<unknown> {
          yield ['load', words, COUNT];
          return { fd: objects[0], identity: identityOf(0), handle: 0, slot: 0 };
        },
        current: () => identityOf(0),
        *release(): Program<void> {
          yield ['load', words, COUNT];
        },
      };
      const registry = {
        *open(): Program<number> {
          const id = [1, 2].find((each) => (read(IDS) & (1 << each)) === 0) as number;
          yield ['or', words, IDS, 1 << id];
          return id;
        },
        *close(id: number): Program<void> {
          expect(read(IDS) & (1 << id)).not.toBe(0);
          yield ['and', words, IDS, ~(1 << id)];
        },
      };
      const written = {
        *write(_slot: number, ...fields: readonly number[]): Program<void> {
          for (const [i, value] of fields.entries()) yield ['store', words, RECORD + i, value | 0];
        },
      };
      function* use(files: StepwiseOpenFiles): Program<void> {
        const opened = (yield* files.reopen(0)) ?? ((yield* files.open(0)) as Opened);
        // the answer arrives
        yield ['add', words, COUNT, 1];
        if (read(COUNT) > 1) expect(opened.backingId).toBe(read(USED));
        words[USED] = opened.backingId;
        yield ['sub', words, COUNT, 1];
        yield* files.release(opened.low, opened.high);
      }
      const thread = (): StepwiseOpenFiles => new module.OpenFiles(stepwiseFs, memory, registry, written);
      const fields = (): Fields => [read(RECORD), read(RECORD + 1), read(RECORD + 2) >>> 0];
      return {
        words,
        programs: [use(thread()), use(thread())],
        checkDeath: () => {
          const ids = new Set([1, 2].filter((id) => (read(IDS) & (1 << id)) !== 0));
          expectSafe([fields(), [0, 0, 0], [0, 0, 0]], [{ used: read(USED), count: read(COUNT) }, CLOSED, CLOSED], ids);
        },
        check: () => expect([fields()[1], read(COUNT), read(IDS)]).toEqual([0, 0, kept === 0 ? 0 : 2]),
      };
    });
    expect(states).toBeGreaterThan(100);
  });
});
