/** The profile of a mount: what is opened first comes first, and what a file has is kept. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lookupPath } from '../../../src/manifest/lookup.ts';
import { inodeCount } from '../../../src/manifest/tables.ts';
import { allocateOpeningOrder, OpeningOrder } from '../../../src/mount/opening-order.ts';
import { ProfileRecorder, requireProfile } from '../../../src/mount/profile-recorder.ts';
import { buildTables, directory, file, treeOf } from '../manifest/model.ts';

const NAMES = ['/d/a', '/d/b\nc', '/d/e'];
const tables = buildTables(treeOf({ '/d': directory, ...Object.fromEntries(NAMES.map((name) => [name, file(name)])) }));
const rowOf = (name: string): number => lookupPath(tables, Buffer.from(name));

let place: string;
let path: string;
let lines: string[];

beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'cfs-profile-'));
  path = join(place, 'profile');
  lines = [];
});

afterEach(() => rmSync(place, { recursive: true }));

const content = (): string => readFileSync(path, 'utf8');

function record(...names: readonly string[]): void {
  const memory = allocateOpeningOrder(inodeCount(tables));
  const recorder = new ProfileRecorder(path, tables, memory, (line) => void lines.push(line));
  const [one, other] = [new OpeningOrder(memory), new OpeningOrder(memory)];
  for (const [i, name] of names.entries()) (i % 2 === 0 ? one : other).opened(rowOf(name));
  recorder.end();
}

test('each file once, in the order in which they were opened first', () => {
  requireProfile(path);
  expect(content()).toBe('cfs-profile 1\n');
  record('/d/b\nc', '/d/a', '/d/b\nc', '/d/a');
  expect(content()).toBe('cfs-profile 1\n/d/b\\x0ac\n/d/a\n');
  expect(lines).toEqual([]);
});

test('the next server continues', () => {
  record('/d/e');
  record('/d/a', '/d/e');
  expect(content()).toBe('cfs-profile 1\n/d/e\n/d/a\n');
});

test('another file stays as it is', () => {
  writeFileSync(path, 'precious\n');
  expect(() => requireProfile(path)).toThrow('is not a profile: its first line');
  record('/d/a');
  expect(content()).toBe('precious\n');
  expect(lines.join()).toContain(`${path} is not a profile`);
});

test('what cannot be written is reported', () => {
  expect(() => requireProfile(join(place, 'gone/profile'))).toThrow('Cannot write the profile');
  mkdirSync(join(place, 'directory'));
  expect(() => requireProfile(join(place, 'directory'))).toThrow('is not a profile');
  path = join(place, 'gone/profile');
  record('/d/a');
  expect(lines).toEqual([expect.stringContaining(`cannot write the profile ${path}: `)]);
});

test('the order continues where it was read', () => {
  const order = new OpeningOrder(allocateOpeningOrder(5));
  for (const row of [4, 0, 4, 2]) order.opened(row);
  expect([order.after(0), order.after(2), order.after(3)]).toEqual([[4, 0, 2], [2], []]);
});
