import { closeSync, fstatSync, openSync, renameSync, statSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { EIO, ELOOP, EPERM, type Errno, isErrno } from '../../../src/base/errno.ts';
import { fileIdentity } from '../../../src/base/file-identity.ts';
import type { Filesystem, OpenFile } from '../../../src/fs/filesystem.ts';
import { FOPEN_KEEP_CACHE, FOPEN_NOFLUSH, FOPEN_PASSTHROUGH } from '../../../src/fuse/abi.ts';
import { allocateOpenFileState, type BackingRegistry, type Opened, OpenFiles } from '../../../src/fuse/open-files.ts';
import { useScratch } from '../store/scratch.ts';

/** Ids that are kept for the next open. */
const KEPT = 256;
const SLOTS = 3 * KEPT;
const CACHED = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH;
const THROUGH = FOPEN_PASSTHROUGH | FOPEN_NOFLUSH;
const PASSTHROUGH_LOW = 0x8000_0000;

const at = useScratch();
const ids = new Set<number>();
let descriptors: Set<number>;
let nextId: number;
let asked: number;
/** The number of calls of `current`; `isUnknown` makes it return -1. */
let looks: number;
let isUnknown: boolean;
/** Returned in place of the registry's answer. */
let refusal: Errno | undefined;
let state: SharedArrayBuffer;
/** Nodeids whose content the server reads for now: only an untrusted repository has it. */
let byBlocks: Set<number>;

beforeEach(() => {
  ids.clear();
  descriptors = new Set();
  nextId = 1;
  asked = 0;
  looks = 0;
  isUnknown = false;
  refusal = undefined;
  state = allocateOpenFileState(SLOTS, KEPT);
  byBlocks = new Set();
});

const pathOf = (nodeid: number): string => at(`object${nodeid}`);

/** Nodeid n has slot n - 1 and the file `object<n % 8>`; nodeids from 700 up have their content in memory. */
const fs = {
  slots: SLOTS,
  open(slot: number): OpenFile | Errno {
    const nodeid = slot + 1;
    if (nodeid === 0) return EIO;
    if (nodeid >= 700 || byBlocks.has(nodeid)) return { fd: -1, identity: 0, handle: 0, slot };
    const fd = openSync(pathOf(nodeid % 8), 'r');
    descriptors.add(fd);
    return { fd, identity: fileIdentity(fstatSync(fd)), handle: fd, slot };
  },
  slotOf: (nodeid: number): number => nodeid - 1,
  current(slot: number): number {
    looks++;
    return isUnknown ? -1 : fileIdentity(statSync(pathOf((slot + 1) % 8)));
  },
  release(handle: number): void {
    if (handle === 0) return;
    expect(descriptors.delete(handle)).toBe(true);
    closeSync(handle);
  },
} as unknown as Filesystem;

/** The kernel's side: ids of open files. No id is used twice. */
const registry: BackingRegistry = {
  open(fd: number): number | Errno {
    asked++;
    expect(fstatSync(fd).isFile()).toBe(true);
    if (refusal !== undefined) return refusal;
    ids.add(nextId);
    return nextId++;
  },
  close(id: number): void {
    expect(ids.delete(id)).toBe(true);
  },
};

for (let i = 0; i < 8; i++) writeFileSync(pathOf(i), `object ${i}`);

const files = (): OpenFiles => new OpenFiles(fs, state, registry);

function opened(openFiles: OpenFiles, nodeid: number): Opened {
  const result = openFiles.open(nodeid - 1);
  if (isErrno(result)) throw new Error(`open() gave ${result}`);
  return result;
}

const release = (openFiles: OpenFiles, { low, high }: Opened): void => openFiles.release(low, high);

/** Replaces the file behind a nodeid, as a repair of the repository does. */
function replace(nodeid: number): void {
  writeFileSync(at('new'), 'new file');
  renameSync(at('new'), pathOf(nodeid % 8));
}

describe('OpenFiles without passthrough', () => {
  const cachedFiles = (): OpenFiles => new OpenFiles(fs, state, undefined);

  test('opens through the page cache, with the handle of the file system', () => {
    const result = opened(cachedFiles(), 3);
    expect(result).toEqual({ low: [...descriptors][0], high: 2, flags: CACHED, backingId: 0 });
  });

  test('releases exactly the files that it opened', () => {
    const openFiles = cachedFiles();
    const [first, second] = [opened(openFiles, 3), opened(openFiles, 3)];
    expect(descriptors.size).toBe(2);
    release(openFiles, first);
    expect([...descriptors]).toEqual([second.low]);
    release(openFiles, second);
    expect(descriptors.size).toBe(0);
  });

  test('passes on the error if a file cannot be opened', () => {
    expect(cachedFiles().open(-1)).toBe(EIO);
  });
});

describe('OpenFiles with passthrough', () => {
  test('opens with FOPEN_PASSTHROUGH and without FOPEN_KEEP_CACHE, and keeps no descriptor', () => {
    expect(opened(files(), 3)).toEqual({ low: PASSTHROUGH_LOW, high: 2, flags: THROUGH, backingId: 1 });
    expect(descriptors.size).toBe(0);
  });

  test('uses one backing id for all opens of an inode', () => {
    const openFiles = files();
    const all = [1, 2, 3].map(() => opened(openFiles, 3));
    expect(all.map(({ backingId }) => backingId)).toEqual([1, 1, 1]);
    expect(asked).toBe(1);
    expect(opened(openFiles, 4).backingId).toBe(2);
  });

  test('gives up ids of closed files whose objects are gone, and no others', () => {
    const openFiles = files();
    const open = opened(openFiles, 3);
    release(openFiles, opened(openFiles, 4));
    openFiles.dropGone();
    expect(ids).toEqual(new Set([1, 2]));
    isUnknown = true;
    openFiles.dropGone();
    expect(ids).toEqual(new Set([1]));
    isUnknown = false;
    expect(opened(openFiles, 4).backingId).toBe(3);
    release(openFiles, open);
    expect(ids).toEqual(new Set([1, 3]));
  });

  test('keeps the id after the last release, for the next open', () => {
    const openFiles = files();
    for (let i = 0; i < 3; i++) release(openFiles, opened(openFiles, 3));
    expect(asked).toBe(1);
    expect([...ids]).toEqual([1]);
  });

  test('passes on the error if a file cannot be opened, and registers nothing', () => {
    expect(files().open(-1)).toBe(EIO);
    expect(asked).toBe(0);
  });

  test('opens contents in memory through the page cache', () => {
    const openFiles = files();
    const result = opened(openFiles, 701);
    expect(result).toEqual({ low: 0, high: 700, flags: CACHED, backingId: 0 });
    release(openFiles, result);
    expect(asked).toBe(0);
  });

  test('closes the id of a file that is to be read here from now on, as soon as it is no longer read by the id', () => {
    const openFiles = files();
    const through = opened(openFiles, 3);
    byBlocks.add(3);
    expect(openFiles.open(2)).toBe(EIO);
    release(openFiles, through);
    const cached = opened(openFiles, 3);
    expect(cached).toEqual({ low: 0, high: 2, flags: CACHED, backingId: 0 });
    expect([...ids]).toEqual([]);
    byBlocks.clear();
    // while the server reads the file, the kernel accepts no other way
    expect(opened(openFiles, 3)).toMatchObject({ flags: CACHED });
    for (const file of [cached, { ...cached, low: [...descriptors][0] as number }]) release(openFiles, file);
    expect(opened(openFiles, 3)).toMatchObject({ flags: THROUGH });
  });

  test('knows the files that another thread opened', () => {
    const [one, other] = [files(), files()];
    const first = opened(one, 3);
    const second = opened(other, 3);
    expect([first.backingId, second.backingId]).toEqual([1, 1]);
    release(other, first);
    release(one, second);
    expect(opened(one, 3).backingId).toBe(1);
    expect(asked).toBe(1);
  });
});

describe('OpenFiles if the kernel refuses a backing file', () => {
  test.each([ELOOP, EPERM])('opens through the page cache after error %i', (errno) => {
    refusal = errno;
    const openFiles = files();
    const result = opened(openFiles, 3);
    expect(result).toMatchObject({ flags: CACHED, backingId: 0 });
    expect([...descriptors]).toEqual([result.low]);
    release(openFiles, result);
    expect(descriptors.size).toBe(0);
  });

  test('keeps using the page cache as long as the inode is open: the kernel does not accept both', () => {
    refusal = ELOOP;
    const openFiles = files();
    const first = opened(openFiles, 3);
    refusal = undefined;
    const second = opened(openFiles, 3);
    expect(second.flags).toBe(CACHED);
    release(openFiles, first);
    expect(opened(openFiles, 3).flags).toBe(CACHED);
    expect(asked).toBe(1);
  });

  test('tries again once the inode is no longer open', () => {
    refusal = ELOOP;
    const openFiles = files();
    release(openFiles, opened(openFiles, 3));
    refusal = undefined;
    expect(opened(openFiles, 3).flags).toBe(THROUGH);
  });

  test('does not let one inode decide for another', () => {
    refusal = ELOOP;
    const openFiles = files();
    opened(openFiles, 3);
    refusal = undefined;
    expect(opened(openFiles, 4).flags).toBe(THROUGH);
  });
});

describe('OpenFiles if the file of an object is replaced', () => {
  test('refuses a further open while the old file is read, and leaks nothing', () => {
    const openFiles = files();
    const old = opened(openFiles, 5);
    replace(5);
    expect(openFiles.open(4)).toBe(EIO);
    expect(descriptors.size).toBe(0);
    expect([...ids]).toEqual([old.backingId]);
    release(openFiles, old);
  });

  test('uses the new file once the old one is closed, and releases the old id', () => {
    const openFiles = files();
    const old = opened(openFiles, 6);
    replace(6);
    expect(openFiles.open(5)).toBe(EIO);
    release(openFiles, old);
    const fresh = opened(openFiles, 6);
    expect(fresh.backingId).not.toBe(old.backingId);
    expect([...ids]).toEqual([fresh.backingId]);
  });
});

describe('OpenFiles of objects that may be deleted and fetched again', () => {
  const outliving = (): OpenFiles => new OpenFiles(fs, state, registry, undefined, 0, true);

  test('lets further readers share the old file while it is read, and uses the new one after that', () => {
    const openFiles = outliving();
    const old = opened(openFiles, 5);
    replace(5);
    const more = opened(openFiles, 5);
    expect(more).toEqual(old);
    byBlocks.add(5);
    expect(opened(openFiles, 5)).toEqual(old);
    byBlocks.clear();
    expect([descriptors.size, [...ids]]).toEqual([0, [old.backingId]]);
    release(openFiles, old);
    release(openFiles, more);
    expect(opened(openFiles, 5)).toEqual(old);
    for (let i = 0; i < 2; i++) release(openFiles, old);
    const fresh = opened(openFiles, 5);
    expect(fresh.backingId).not.toBe(old.backingId);
    expect([...ids]).toEqual([fresh.backingId]);
  });
});

describe('OpenFiles with counts of an earlier process', () => {
  test('asks the kernel whether the replaced file is still open: the count may be too high', () => {
    const old = opened(files(), 5);
    replace(5);
    state = allocateOpenFileState(SLOTS);
    const next = files();
    next.restore([{ slot: old.high, backing: old.backingId, opens: 3, identity: 1 }]);
    const fresh = opened(next, 5);
    expect(fresh.backingId).not.toBe(old.backingId);
    expect([...ids]).toEqual([fresh.backingId]);
    // it is replaced again, while the count still says that the file is open
    replace(5);
    expect(opened(next, 5).backingId).not.toBe(fresh.backingId);
  });
});

describe('OpenFiles that opens a file again', () => {
  test('returns the same as `open`, without opening anything', () => {
    const openFiles = files();
    const first = opened(openFiles, 3);
    for (const thread of [openFiles, files()]) expect(thread.reopen(2)).toEqual(first);
    expect([asked, descriptors.size]).toEqual([1, 0]);
  });

  test('counts it: the id stays until the last release', () => {
    state = allocateOpenFileState(SLOTS, 0);
    const openFiles = files();
    const [first, second] = [opened(openFiles, 3), openFiles.reopen(2) as Opened];
    release(openFiles, first);
    expect([...ids]).toEqual([first.backingId]);
    release(openFiles, second);
    expect([...ids]).toEqual([]);
    expect(openFiles.reopen(2)).toBeUndefined();
  });

  test('does not know a file that was never opened, has its content in memory, or cannot be identified by a look', () => {
    const openFiles = files();
    expect(openFiles.reopen(2)).toBeUndefined();
    expect(openFiles.reopen(-1)).toBeUndefined();
    opened(openFiles, 701);
    expect(openFiles.reopen(700)).toBeUndefined();
    expect(looks).toBe(0);
    opened(openFiles, 3);
    isUnknown = true;
    expect(openFiles.reopen(2)).toBeUndefined();
  });

  test('does not know a file whose object was replaced', () => {
    const openFiles = files();
    opened(openFiles, 4);
    replace(4);
    expect(openFiles.reopen(3)).toBeUndefined();
  });

  test('knows no file without passthrough', () => {
    opened(files(), 3);
    expect(new OpenFiles(fs, state, undefined).reopen(2)).toBeUndefined();
  });
});

describe('OpenFiles with many inodes', () => {
  test('keeps the given number of idle ids, and releases the oldest', () => {
    const openFiles = files();
    const count = KEPT + 10;
    for (let nodeid = 1; nodeid <= count; nodeid++) release(openFiles, opened(openFiles, nodeid));
    expect(ids.size).toBe(KEPT);
    expect(ids.has(10)).toBe(false);
    expect(ids.has(11)).toBe(true);
    expect(opened(openFiles, 11).backingId).toBe(11);
    expect(opened(openFiles, 10).backingId).toBe(count + 1);
  });

  test('releases last the ids of files that were opened more than once', () => {
    const openFiles = files();
    for (let nodeid = 1; nodeid <= KEPT; nodeid++) release(openFiles, opened(openFiles, nodeid));
    for (let nodeid = 1; nodeid <= 10; nodeid++) release(openFiles, openFiles.reopen(nodeid - 1) as Opened);
    for (let nodeid = KEPT + 1; nodeid <= KEPT + 10; nodeid++) release(openFiles, opened(openFiles, nodeid));
    expect([1, 10, 11, 20, 21].map((id) => ids.has(id))).toEqual([true, true, false, false, true]);
  });

  test('keeps no id of a closed file if all places belong to open ones', () => {
    const openFiles = files();
    const held = Array.from({ length: KEPT }, (_, i) => opened(openFiles, i + 1));
    const more = opened(openFiles, KEPT + 1);
    release(openFiles, more);
    expect(ids.has(more.backingId)).toBe(false);
    for (const file of held) release(openFiles, file);
    expect(ids.size).toBe(KEPT);
  });

  test('never releases an id whose inode is open', () => {
    const openFiles = files();
    release(openFiles, opened(openFiles, 1));
    const held = opened(openFiles, 1);
    for (let nodeid = 2; nodeid <= 2 * KEPT; nodeid++) release(openFiles, opened(openFiles, nodeid));
    expect(ids.has(held.backingId)).toBe(true);
    expect(opened(openFiles, 1).backingId).toBe(held.backingId);
  });

  test('holds few ids for an inode that is opened and closed forever', () => {
    const openFiles = files();
    for (let i = 0; i < 3 * KEPT; i++) release(openFiles, opened(openFiles, 7));
    expect(ids.size).toBe(1);
    expect(asked).toBe(1);
  });

  test("follows the kernel's rules for any sequence of calls", () => {
    const action = fc.record({ nodeid: fc.integer({ min: 1, max: 6 }), what: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        ids.clear();
        state = allocateOpenFileState(SLOTS, 3);
        const threads = [files(), files()];
        const open = new Map<number, Opened[]>();
        actions.forEach(({ nodeid, what }, i) => {
          const thread = threads[i % 2] as OpenFiles;
          const held = open.get(nodeid) ?? [];
          refusal = what === 9 ? ELOOP : undefined;
          if (what === 8) replace(nodeid);
          else if (what < 4 && held.length > 0) release(thread, held.splice(what % held.length, 1)[0] as Opened);
          else {
            const result = (what % 2 === 0 ? thread.reopen(nodeid - 1) : undefined) ?? thread.open(nodeid - 1);
            if (!isErrno(result)) open.set(nodeid, [...held, result]);
          }
          expectConsistent(open);
        });
        for (const held of open.values()) for (const file of held) release(threads[0] as OpenFiles, file);
        expect(descriptors.size).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

/** Each inode is read in one way only: through one registered backing id, or through the page cache. */
function expectConsistent(open: ReadonlyMap<number, readonly Opened[]>): void {
  for (const held of open.values()) {
    const ways = new Set(held.map(({ flags, backingId }) => `${flags} ${backingId}`));
    expect(ways.size).toBeLessThanOrEqual(1);
    for (const { flags, backingId } of held) expect(flags === CACHED ? backingId === 0 : ids.has(backingId)).toBe(true);
  }
}
