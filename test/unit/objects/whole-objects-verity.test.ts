import { renameSync, truncateSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, test } from 'vitest';
import { toHex } from '../../../src/base/bytes.ts';
import { EIO, ENOTTY, EOPNOTSUPP } from '../../../src/base/errno.ts';
import { allocateObjectState, type ObjectState } from '../../../src/objects/object-state.ts';
import type { Proof, WholeMode } from '../../../src/objects/repository.ts';
import { WholeObjects } from '../../../src/objects/whole-objects.ts';
import { sealFile } from '../../../src/store/seal-file.ts';
import { emptyFileVersion } from '../../../src/system/file-status.ts';
import { useScratch } from '../store/scratch.ts';
import { BELIEVED, COUNT, expectGood, NAMED, open, type StoredObject, StoreFixture } from '../store/store-fixture.ts';
import { FakeVerity } from './fake-verity.ts';
import { WatchedRepository } from './watched-repository.ts';

const at = useScratch();
const f = new StoreFixture(at);
const first = new WatchedRepository(at('verity-first'), 'fsverity-sha256');
const second = new WatchedRepository(at('verity-second'), 'fsverity-sha256');

let verity: FakeVerity;
let state: ObjectState;
let log: string[];

beforeEach(() => {
  verity = new FakeVerity();
  state = allocateObjectState(COUNT);
  log = [];
  first.reset();
  second.reset();
});

const storeOf = (mode: WholeMode, repositories = [first, second]): WholeObjects =>
  new WholeObjects(repositories, mode, state, (line) => void log.push(line), {
    ...BELIEVED,
    measure: verity.measure,
  });

/** A new object in these repositories, old enough to be remembered. */
async function stored(...repositories: readonly WatchedRepository[]): Promise<StoredObject> {
  const object = f.object('fsverity-sha256');
  for (const repository of repositories) writeFileSync(repository.pathOf(object), object.content);
  await settle();
  return object;
}

/** Longer than a ctime needs to settle: 50 ms. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 80));

function seal(object: StoredObject, repository = first): void {
  expect(sealFile(repository.pathOf(object), verity)).toMatchObject({ outcome: 'sealed' });
}

function proofOf(store: WholeObjects, object: StoredObject): Proof | undefined {
  const status = emptyFileVersion();
  expect(first.status(object.digest, status)).toBe(0);
  return store.proofOf(object, status);
}

/**
 * Changes the content below the seal, as a program that writes to the disk itself could: measuring reads no content.
 */
const changeBelow = (object: StoredObject): void => writeFileSync(first.pathOf(object), Buffer.alloc(object.size));

describe.each(['auto', 'fsverity'] as const)('verify=%s, of a sealed object', (mode) => {
  test('measures and does not hash', async () => {
    const object = await stored(first);
    seal(object);
    const store = storeOf(mode);
    for (let i = 0; i < 3; i++) expectGood(store, object);
    expect(first.hashings).toBe(0);
    expect(log).toEqual([]);
    expect(proofOf(store, object)).toBe('measured');
  });

  test('remembers the result for a look at its name, as long as it is the same file', async () => {
    const object = await stored(first);
    seal(object);
    const store = storeOf(mode);
    expect(store.current(object)).toBe(-1);
    expectGood(store, object);
    expect(store.current(object)).toBeGreaterThanOrEqual(0);
    expect(storeOf(mode).current(object)).toBeGreaterThanOrEqual(0);
    utimesSync(first.pathOf(object), 1, 1);
    expect(store.current(object)).toBe(-1);
    expect(proofOf(store, object)).toBeUndefined();
    await settle();
    expectGood(store, object);
    expect(first.hashings).toBe(0);
    expect(store.current(object)).toBeGreaterThanOrEqual(0);
  });

  test('notices another file in its place', async () => {
    const object = await stored(first);
    seal(object);
    const store = storeOf(mode);
    expectGood(store, object);
    const path = first.pathOf(object);
    writeFileSync(`${path}.new`, Buffer.alloc(object.size));
    renameSync(`${path}.new`, path);
    expect(store.current(object)).toBe(-1);
    expect(open(store, object)).toBe(EIO);
  });

  test('does not rely on memory if the seal is gone', async () => {
    const object = await stored(first);
    seal(object);
    const store = storeOf(mode);
    expectGood(store, object);
    verity = new FakeVerity();
    const afterwards = storeOf(mode);
    if (mode === 'auto') expectGood(afterwards, object);
    else expect(open(afterwards, object)).toBe(EIO);
    expect(first.hashings).toBe(mode === 'auto' ? 1 : 0);
  });

  test('also compares the size: that of the image may be wrong', async () => {
    const object = await stored(first);
    seal(object);
    expect(open(storeOf(mode), { ...object, size: object.size - 1 })).toBe(EIO);
    expect(log[0]).toContain('it is grown: 5000 bytes instead of 4999');
  });

  test('uses a later repository if the first has none', async () => {
    const object = await stored(second);
    seal(object, second);
    expectGood(storeOf(mode), object);
    expect([second.hashings, log]).toEqual([0, []]);
  });
});

describe('verify=fsverity', () => {
  test('refuses an unsealed object, says what to do, and uses a sealed copy of the next repository', async () => {
    const object = await stored(first, second);
    expect(open(storeOf('fsverity', [first]), object)).toBe(EIO);
    expect(log).toEqual([
      `${NAMED}: object ${toHex(object.digest)}: ${first.path}: it is not sealed, and sealing repository ${first.path} does it: EIO`,
    ]);
    seal(object, second);
    expectGood(storeOf('fsverity'), object);
    expect(log[1]).toContain(`served from ${second.path} instead`);
    expect([first.hashings, second.hashings]).toEqual([0, 0]);
  });

  test.each([EOPNOTSUPP, ENOTTY])('reports that the file system has no fs-verity (%i)', async (errno) => {
    const object = await stored(first);
    verity.failing = errno;
    expect(open(storeOf('fsverity', [first]), object)).toBe(EIO);
    expect(log[0]).toContain(`${first.path}: it is not sealed: its file system has no fs-verity: EIO`);
  });

  test('refuses an object that is sealed with another content', async () => {
    const object = await stored(first, second);
    changeBelow(object);
    seal(object);
    expect(open(storeOf('fsverity', [first]), object)).toBe(EIO);
    expect(log[0]).toMatch(/it is sealed with another content, .*: its fs-verity digest is sha256:[0-9a-f]{64}: EIO$/);
    seal(object, second);
    expectGood(storeOf('fsverity'), object);
  });

  test('refuses the right digest of another hash', async () => {
    const object = await stored(first);
    const measure = (): { algorithm: string; digest: Uint8Array } => ({ algorithm: 'sha512', digest: object.digest });
    const store = new WholeObjects([first], 'fsverity', state, (line) => void log.push(line), { ...BELIEVED, measure });
    expect(open(store, object)).toBe(EIO);
  });

  test('counts an unsealed copy as failed, and one that is sealed with another content as damaged', async () => {
    const counted: string[] = [];
    const store = new WholeObjects([first], 'fsverity', state, () => undefined, {
      ...BELIEVED,
      count: (_repository, outcome) => void counted.push(outcome),
      measure: verity.measure,
    });
    const object = await stored(first);
    open(store, object);
    changeBelow(object);
    seal(object);
    open(store, object);
    expect(counted).toEqual(['failed', 'damaged']);
  });
});

describe('verify=auto', () => {
  test('hashes an unsealed object, and remembers that', async () => {
    const object = await stored(first);
    const store = storeOf('auto');
    for (let i = 0; i < 3; i++) expectGood(store, object);
    expect([first.hashings, verity.measured]).toEqual([1, 1]);
    expect(proofOf(store, object)).toBe('hashed');
  });

  test('hashes if the file system has no fs-verity', async () => {
    const object = await stored(first);
    verity.failing = EOPNOTSUPP;
    expectGood(storeOf('auto'), object);
    expect([first.hashings, log]).toEqual([1, []]);
  });

  test('continues with the hash of an object that is sealed later, and measures it at the next full check', async () => {
    const object = await stored(first);
    const store = storeOf('auto');
    expectGood(store, object);
    seal(object);
    expectGood(store, object);
    expect(proofOf(store, object)).toBe('hashed');
    state = allocateObjectState(COUNT);
    const next = storeOf('auto');
    expectGood(next, object);
    expect(proofOf(next, object)).toBe('measured');
    expect(first.hashings).toBe(1);
  });

  test('hashes an object that is sealed with another salt, and refuses other content', async () => {
    const salted = await stored(first);
    const measure = (): { algorithm: string; digest: Uint8Array } => ({
      algorithm: 'sha256',
      digest: new Uint8Array(32),
    });
    const store = new WholeObjects([first], 'auto', state, (line) => void log.push(line), { ...BELIEVED, measure });
    expectGood(store, salted);
    const object = await stored(first);
    changeBelow(object);
    expect(open(store, object)).toBe(EIO);
    expect(log[0]).toContain('its content is corrupted: fsverity-sha256 is ');
  });

  test.each([
    ['shorter', (path: string) => truncateSync(path, 4999)],
    ['missing', unlinkSync],
  ])('returns EIO for an object that is %s', async (_what, damage) => {
    const object = await stored(first);
    damage(first.pathOf(object));
    expect(open(storeOf('auto'), object)).toBe(EIO);
  });
});
