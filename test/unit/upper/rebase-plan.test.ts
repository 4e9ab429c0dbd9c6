/** What a rebase does to an upper directory: carried out once, or again after a part of it. */
import {
  closeSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  carryOutPlan,
  decidePlan,
  dropPlan,
  type PlannedDirectory,
  type RebasePlan,
  readPlan,
  requireRoom,
  textOf,
  writePlan,
} from '../../../src/upper/rebase-plan.ts';

let scratch: string;
let open: number[];
const at = (...names: readonly string[]): string => join(scratch, ...names);

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cfs-plan-'));
  open = [];
  for (const name of ['upper/kept/gone', 'upper/dropped/below', 'index', 'cfs'])
    mkdirSync(at(name), { recursive: true });
  for (const name of [
    'upper/kept/file',
    'upper/kept/dropped',
    'upper/dropped/below/file',
    'index/0a',
    'index/0b',
    'index/0c',
  ]) {
    writeFileSync(at(name), '');
  }
});
afterEach(() => {
  open.forEach(closeSync);
  rmSync(scratch, { recursive: true });
});

function directories() {
  open = ['upper', 'index', 'cfs'].map((name) => openSync(at(name), 'r'));
  const [upper, index, cfs] = open as [number, number, number];
  return { upper, index, cfs };
}

const directory = (name: string, more: Partial<PlannedDirectory> = {}): PlannedDirectory => ({
  name: text(name),
  whiteouts: [],
  xattrs: [],
  remove: [],
  directories: [],
  isRemoved: false,
  mtime: [7, 0, 5],
  ...more,
});
const text = (name: string): string => textOf(Buffer.from(name));
const entry = (name: string, newName: string) => ({ name: text(name), newName: text(newName), remove: [], set: [] });

const PLAN: RebasePlan = {
  version: 1,
  name: 'plan',
  image: 'id',
  path: '/new.cfs',
  root: directory('', {
    directories: [
      directory('kept', { remove: [text('dropped')], whiteouts: [text('hidden')] }),
      directory('dropped', {
        isRemoved: true,
        directories: [directory('below', { remove: [text('file')], isRemoved: true })],
      }),
    ],
  }),
  index: [entry('0a', ''), entry('0b', '1b'), entry('0c', '0c')],
};

const isWhiteout = (path: string): boolean => lstatSync(path).isCharacterDevice() && lstatSync(path).rdev === 0;

function expectDone(): void {
  expect(readdirSync(at('upper'))).toEqual(['kept']);
  expect(readdirSync(at('upper/kept')).sort()).toEqual(['file', 'gone', 'hidden']);
  expect(isWhiteout(at('upper/kept/hidden'))).toBe(true);
  for (const name of ['upper', 'upper/kept'])
    expect(lstatSync(at(name), { bigint: true }).mtimeNs).toBe(7_000_000_005n);
  expect(readdirSync(at('index')).sort()).toEqual(['0c', '1b']);
  expect(readdirSync(at('cfs'))).toEqual([]);
}

describe('a plan', () => {
  test('that removes nothing is refused if there is no room for its whiteouts', () => {
    const hiding = directory('', {
      directories: [directory('kept', { whiteouts: [text('one'), text('two')] }), directory('dropped')],
    });
    mkdirSync(at('work'));
    const work = openSync(at('work'), 'r');
    open.push(work);
    requireRoom(work, hiding);
    expect(readdirSync(at('work'))).toEqual([]);
    // a directory that is removed takes no names: the first failure that a test can have everywhere
    rmSync(at('work'), { recursive: true });
    expect(() => requireRoom(work, hiding)).toThrow('ENOENT');
    requireRoom(work, PLAN.root);
    requireRoom(work, directory('', { directories: [directory('kept')] }));
  });

  test('is carried out when it was decided on', () => {
    const all = directories();
    writePlan(all.cfs, PLAN);
    expect(readPlan(all.cfs)).toBeUndefined();
    expect(readPlan(all.cfs, true)).toEqual(PLAN);
    decidePlan(all.cfs);
    expect(readPlan(all.cfs)).toEqual(PLAN);
    carryOutPlan(all, PLAN, true);
    expectDone();
  });

  test('is carried out once more after any part of it', () => {
    const all = directories();
    writePlan(all.cfs, PLAN);
    decidePlan(all.cfs);
    carryOutPlan(all, PLAN, false);
    utimesSync(at('upper/kept'), 1, 1);
    writePlan(all.cfs, PLAN);
    decidePlan(all.cfs);
    carryOutPlan(all, PLAN, false);
    expectDone();
  });

  test('that was not decided on is removed without effect', () => {
    const all = directories();
    writePlan(all.cfs, PLAN);
    dropPlan(all.cfs);
    expect(readPlan(all.cfs, true)).toBeUndefined();
    expect(readdirSync(at('upper')).sort()).toEqual(['dropped', 'kept']);
  });

  test('leaves a directory in which something is that it does not know', () => {
    const all = directories();
    writeFileSync(at('upper/dropped/below/other'), '');
    carryOutPlan(all, PLAN, false);
    expect(readdirSync(at('upper/dropped/below'))).toEqual(['other']);
  });

  test('of a later version is refused', () => {
    const { cfs } = directories();
    writePlan(cfs, { ...PLAN, version: 2 as never });
    decidePlan(cfs);
    expect(() => readPlan(cfs)).toThrow('a later version of cfs has made the plan of a rebase');
  });
});
