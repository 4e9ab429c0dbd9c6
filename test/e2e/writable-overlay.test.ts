/** A writable mount and overlayfs on top of each other. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { closeAfterEach, keepNames } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { useOverlays } from './overlay.ts';
import { run } from './run.ts';
import { dropCaches } from './system.ts';

const scratch = useScratch();
const overlayOn = useOverlays(scratch);
closeAfterEach();

let source: string;
let image: string;

beforeAll(async () => {
  source = scratch.directory('source');
  mkdirSync(join(source, 'directory'));
  for (const name of ['file', 'changed', 'gone', 'directory/below']) writeFileSync(join(source, name), `${name}\n`);
  ({ image } = await scratch.pack(source));
});

const layerWords = (upper: string): string[] => [`upperdir=${upper}`, `workdir=${scratch.directory('work')}`];

const mount = (upper = scratch.directory('upper')): Promise<Mounted> =>
  scratch.mount(image, { words: layerWords(upper) });

test('overlayfs has a writable mount as its lower layer', async () => {
  const below = await mount();
  appendFileSync(below.at('changed'), 'below\n');
  writeFileSync(below.at('new'), 'new\n');
  unlinkSync(below.at('gone'));
  keepNames(below.path);
  const overlay = await overlayOn([below.path], scratch.directory('layers'), []);
  expect(readdirSync(overlay.at).sort()).toEqual(['changed', 'directory', 'file', 'new']);
  for (const name of ['file', 'changed', 'new', 'directory/below']) appendFileSync(overlay.path(name), 'above\n');
  expect(readFileSync(overlay.path('changed'), 'utf8')).toBe('changed\nbelow\nabove\n');
  expect(readFileSync(overlay.path('new'), 'utf8')).toBe('new\nabove\n');
  expect(readFileSync(overlay.path('directory/below'), 'utf8')).toBe('directory/below\nabove\n');
  unlinkSync(overlay.path('new'));
  expect(existsSync(overlay.path('new'))).toBe(false);
  expect(readFileSync(below.at('new'), 'utf8')).toBe('new\n');
  expect(readFileSync(below.at('changed'), 'utf8')).toBe('changed\nbelow\n');
});

test('overlayfs does not take a directory of a writable mount as its upper layer', async () => {
  const below = await mount();
  for (const name of ['upper', 'work']) mkdirSync(below.at(name));
  const options = `lowerdir=${source},upperdir=${below.at('upper')},workdir=${below.at('work')}`;
  const at = scratch.directory('overlay');
  const { status, stderr } = await run(['mount', '-t', 'overlay', 'overlay', '-o', options, at]);
  expect(status).toBe(32);
  expect(stderr).toMatch(/wrong fs type, bad option/);
  expect(readdirSync(below.at('upper'))).toEqual([]);
});

test('a writable mount is made inside of an overlay, and takes no layer from it', async () => {
  const overlay = await overlayOn([source], scratch.directory('layers'), []);
  const at = overlay.path('empty');
  mkdirSync(at);
  const inside = await scratch.mount(image, { words: layerWords(scratch.directory('upper')), at });
  writeFileSync(inside.at('new'), 'new\n');
  expect(readdirSync(at)).toContain('new');
  await inside.unmount();
  expect(readdirSync(at)).toEqual([]);
  for (const name of ['upper', 'work']) mkdirSync(overlay.path(name));
  const words = [`upperdir=${overlay.path('upper')}`, `workdir=${overlay.path('work')}`];
  const { status, stdout } = await scratch.tryMount(image, { words });
  expect(status).toBe(32);
  expect(stdout).toMatch(/overlay/);
});

test('directories keep their times when files in them are copied up', async () => {
  const upper = scratch.directory('upper');
  utimesSync(upper, 1_000_000_000, 1_000_000_001);
  const mounted = await mount(upper);
  appendFileSync(mounted.at('changed'), 'more\n');
  appendFileSync(mounted.at('directory/below'), 'more\n');
  dropCaches();
  expect(statSync(mounted.path).mtimeMs).toBe(1_000_000_001_000);
  expect(statSync(mounted.at('directory')).mtimeMs).toBe(statSync(join(source, 'directory')).mtimeMs);
  writeFileSync(mounted.at('directory/new'), 'new\n');
  dropCaches();
  expect(statSync(mounted.at('directory')).mtimeMs).toBeGreaterThan(statSync(join(source, 'directory')).mtimeMs);
});

test('the time of the upper directory, which a user sees, stays as it is when it is mounted', async () => {
  const upper = scratch.directory('upper');
  utimesSync(upper, 1_000_000_000, 1_000_000_001);
  const mounted = await mount(upper);
  expect(statSync(mounted.path).mtimeMs).toBe(1_000_000_001_000);
  await mounted.unmount();
  expect(statSync(upper).mtimeMs).toBe(1_000_000_001_000);
});
