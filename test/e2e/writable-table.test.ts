/** A table of identities that is damaged: the server that finds it makes it anew, and readers see no error. */
import {
  appendFileSync,
  closeSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { formatHandle } from '../../src/base/handle-format.ts';
import { closeAfterEach, handleOf } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { dropCaches, isAlive, isSupervisor, sessionMembers, until } from './system.ts';

const scratch = useScratch();
closeAfterEach();

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  mkdirSync(join(source, 'directory'));
  for (const name of ['read', 'changed', 'removed', 'moved', 'directory/below']) {
    writeFileSync(join(source, name), `${name} of the image\n`);
  }
  ({ image } = await scratch.pack(source));
});

const tableIn = (layers: string): string => join(layers, 'work/work/cfs-ids');

const mount = (layers: string): Promise<Mounted> => {
  for (const name of ['upper', 'work']) mkdirSync(join(layers, name), { recursive: true });
  return scratch.mount(image, { words: [`upperdir=${layers}/upper`, `workdir=${layers}/work`] });
};

const members = (mounted: Mounted): { server: number | undefined; supervisor: number | undefined } => {
  const pids = sessionMembers(mounted.pid);
  return { server: pids.find((pid) => !isSupervisor(pid)), supervisor: pids.find(isSupervisor) };
};

/** Overwrites the rows of the table with other bytes; its names and indexes stay. */
function damage(path: string): void {
  const fd = openSync(path, 'r+');
  const head = Buffer.alloc(16);
  readSync(fd, head, 0, 16, 0);
  expect(head.toString('latin1', 0, 7)).toBe('cfs-ids');
  // the indexes
  writeSync(fd, Buffer.alloc(1 << 23, 0x55), 0, 1 << 23, 4096);
  closeSync(fd);
}

/** How the table is damaged, and which server finds it. */
const WAYS: Readonly<Record<string, (path: string) => void>> = {
  'with wrong bytes': damage,
  'truncated to nothing': (path) => truncateSync(path, 0),
  'that is cut off behind its rows': (path) => truncateSync(path, 50 << 20),
};

const NAMES = ['read', 'changed', 'other', 'new', 'new/file', 'new/link', 'directory', 'directory/below'];
const identities = (mounted: Mounted): string[] =>
  NAMES.map((name) => `${name} ${lstatSync(mounted.at(name)).ino} ${formatHandle(handleOf(mounted.at(name)))}`);

function change(mounted: Mounted): void {
  mkdirSync(mounted.at('new'));
  writeFileSync(mounted.at('new/file'), 'written\n');
  symlinkSync('file', mounted.at('new/link'));
  appendFileSync(mounted.at('changed'), 'and changed\n');
  renameSync(mounted.at('moved'), mounted.at('other'));
}

describe.each(Object.entries(WAYS))('a table %s', (_way, spoil) => {
  test('that a server finds after the last one was killed', async () => {
    const layers = scratch.directory('layers');
    const mounted = await mount(layers);
    change(mounted);
    const before = identities(mounted);
    const open = ['read', 'changed', 'new/file', 'removed'].map((name) => openSync(mounted.at(name), 'r'));
    const written = openSync(mounted.at('new/gone'), 'wx+');
    try {
      writeSync(written, 'before, ', 0);
      for (const name of ['new/gone', 'removed']) unlinkSync(mounted.at(name));
      const { server, supervisor } = members(mounted) as { server: number; supervisor: number };
      // so that no server comes before the table is damaged
      process.kill(supervisor, 'SIGSTOP');
      process.kill(server, 'SIGKILL');
      await until('it has ended', () => members(mounted).server === undefined || !isAlive(server));
      spoil(tableIn(layers));
      process.kill(supervisor, 'SIGCONT');
      await until('there is another server', () => ![undefined, server].includes(members(mounted).server));

      expect(identities(mounted)).toEqual(before);
      dropCaches();
      expect(identities(mounted)).toEqual(before);
      expect(readFileSync(mounted.at('changed'), 'utf8')).toBe('changed of the image\nand changed\n');
      expect(readFileSync(mounted.at('other'), 'utf8')).toBe('moved of the image\n');
      const texts = open.map((fd) => {
        const text = Buffer.alloc(100);
        return text.toString('utf8', 0, readSync(fd, text, 0, 100, 0));
      });
      expect(texts).toEqual([
        'read of the image\n',
        'changed of the image\nand changed\n',
        'written\n',
        'removed of the image\n',
      ]);
      writeSync(written, 'and after', 8);
      expect(fstatSync(written)).toMatchObject({ nlink: 0, size: 17 });
      appendFileSync(mounted.at('changed'), 'again\n');
      appendFileSync(mounted.at('other'), 'more\n');
      writeFileSync(mounted.at('later'), 'later\n');
    } finally {
      for (const fd of [...open, written]) closeSync(fd);
    }
    appendFileSync(mounted.at('changed'), 'at last\n');
    await mounted.unmount();
    const again = await mount(layers);
    expect(identities(again)).toEqual(before);
    expect(readdirSync(join(layers, 'work/cfs/orphans'))).toEqual([]);
    expect(readFileSync(again.at('changed'), 'utf8')).toMatch(/at last\n$/);
  });

  test('that a mount finds', async () => {
    const layers = scratch.directory('layers');
    const first = await mount(layers);
    change(first);
    const before = identities(first);
    await first.unmount();
    spoil(tableIn(layers));
    const again = await mount(layers);
    expect(identities(again)).toEqual(before);
  });
});

test('a table that is truncated under the server', async () => {
  const layers = scratch.directory('layers');
  const mounted = await mount(layers);
  change(mounted);
  const before = identities(mounted);
  const { server } = members(mounted);
  const fd = openSync(tableIn(layers), 'r+');
  ftruncateSync(fd, 0);
  closeSync(fd);
  dropCaches();
  expect(identities(mounted)).toEqual(before);
  expect(members(mounted).server).not.toBe(server);
  writeFileSync(mounted.at('later'), 'later\n');
  expect(readFileSync(mounted.at('later'), 'utf8')).toBe('later\n');
});
