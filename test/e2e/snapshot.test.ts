/** Copies of the upper layer by `cfs-info snapshot` on file systems that share blocks between files. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseSavedFiles } from '../../src/checkpoint/saved-files.ts';
import { Random } from '../support/random.ts';
import { mountLoop, sharedBytes } from './cli.ts';
import { type Mounted, useScratch } from './harness.ts';
import { endOf, succeed } from './run.ts';
import { unmountBy } from './system.ts';

const scratch = useScratch();
const MIB = 1 << 20;
const LARGE = 16 * MIB;
const UNLINKED = 8 * MIB;
let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'changed'), new Random(1).bytes(LARGE));
  image = (await scratch.pack(source)).image;
});

let holder: ChildProcess | undefined;
afterEach(endHolder);

async function endHolder(): Promise<void> {
  if (holder !== undefined) await endOf(holder);
  holder = undefined;
}

/** A process with a file that it has unlinked. @returns its process id */
async function holdUnlinked(path: string): Promise<string> {
  const script = 'exec 7<>"$0" && rm "$0" && echo ready && exec sleep 1000';
  const child = spawn('sh', ['-c', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  holder = child;
  await once(child.stdout, 'data');
  return String(child.pid);
}

const mountWith = (upper: string, work: string): Promise<Mounted> =>
  scratch.mount(image, { words: [`upperdir=${upper}`, `workdir=${work}`] });

/** Bytes in use of a file system, when all is written. */
async function used(path: string): Promise<number> {
  await succeed(['sync', '-f', path]);
  const { blocks, bfree, bsize } = statfsSync(path);
  return (blocks - bfree) * bsize;
}

describe.each([
  ['btrfs', 256],
  ['xfs', 320],
] as const)('cfs-info snapshot on %s', (type, mib) => {
  test('shares all blocks with the upper layer, and has the unlinked files of a checkpoint', async () => {
    const disk = await mountLoop(scratch.at(type), type, mib);
    const [upper, work] = ['upper', 'work'].map((name) => join(disk, name)) as [string, string];
    for (const path of [upper, work]) mkdirSync(path);
    const mounted = await mountWith(upper, work);
    const content = new Random(2).bytes(UNLINKED);
    writeFileSync(mounted.at('new'), new Random(3).bytes(LARGE));
    await succeed(['truncate', '-s', String(LARGE - 1), mounted.at('changed')]);
    writeFileSync(mounted.at('gone'), content);
    const { ino } = statSync(mounted.at('gone'));
    const process = await holdUnlinked(mounted.at('gone'));
    const dump = scratch.directory('dump');
    await scratch.tool('cfs-checkpoint', ['prepare', '--relink', '-D', dump, mounted.path, process]);
    const list = parseSavedFiles(readFileSync(join(dump, 'cfs-files.json'), 'utf8'), 'the list');
    const name = list.files.find(({ unlinked }) => unlinked !== undefined)?.unlinked?.relinked as string;

    const before = await used(disk);
    const to = join(disk, 'copy');
    const { stdout } = await scratch.tool('cfs-info', ['snapshot', mounted.path, to]);
    expect(stdout).toBe(`upperdir=${to}/upper,workdir=${to}/work\n`);
    expect((await used(disk)) - before).toBeLessThan(2 * MIB);
    expect(sharedBytes(join(to, 'upper/new'))).toBe(LARGE);
    expect(sharedBytes(join(to, 'upper/changed'))).toBe(LARGE);
    expect(sharedBytes(join(to, 'upper', name))).toBe(UNLINKED);

    // what is written later is not in the copy
    writeFileSync(mounted.at('new'), 'other');
    await endHolder();
    await mounted.unmount();
    const copy = await mountWith(join(to, 'upper'), join(to, 'work'));
    expect(readFileSync(copy.at('new')).equals(new Random(3).bytes(LARGE))).toBe(true);
    const reads = ['sh', '-c', 'stat -L -c "%i %s" /proc/self/fd/3 && sha256sum <&3'];
    const restored = await scratch.tool('cfs-checkpoint', ['restore-files', '-D', dump, copy.path, '--', ...reads]);
    writeFileSync(scratch.at('content'), content);
    const sum = (await succeed(['sha256sum', scratch.at('content')])).split(' ')[0];
    expect(restored.stdout).toBe(`${ino} ${UNLINKED}\n${sum}  -\n`);
    expect(readdirSync(copy.at('lost+found/checkpoint'))).toEqual([]);
    await copy.unmount();
    await unmountBy(['umount', disk]);
  });
});
