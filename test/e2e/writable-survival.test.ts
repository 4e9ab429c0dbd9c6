/**
 * Writers of a mount with an upper layer while its server is killed again and again. Each checks at once that every
 * change was made, and made once; files without names go on.
 */
import { createHash } from 'node:crypto';
import { chownSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { isErrno } from '../../src/base/errno.ts';
import { formatHandle } from '../../src/base/handle-format.ts';
import { getXattr } from '../../src/system/xattrs.ts';
import { copyWithChange } from '../support/mutant.ts';
import { Random } from '../support/random.ts';
import { handleOf } from './handle-calls.ts';
import { type Mounted, useScratch } from './harness.ts';
import { type Layers, newLayers } from './layers.ts';
import { HERE, NOBODY, OWN_TOOLS, Place, run, succeed } from './run.ts';
import { isAlive, isSupervisor, sessionMembers, until } from './system.ts';

const scratch = useScratch();

const KILLS_OF_SHORT_RUN = 10;
const KILLS = Number(process.env['CFS_KILLS'] ?? KILLS_OF_SHORT_RUN);
const WRITERS = [1, 2, 3, 4];
const FILES = 12;
/** The mutant shows an error after some kills; this many mean that nothing looks. */
const KILLS_OF_MUTANT = 100;

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  for (const writer of WRITERS) {
    const own = join(source, `writer-${writer}`);
    mkdirSync(join(own, 'directory/below'), { recursive: true });
    for (let i = 0; i < FILES; i++) {
      const name = join(own, ['', 'directory', 'directory/below'][i % 3] as string, `image-${i}`);
      writeFileSync(name, `file ${i} of the image `.repeat([1, 300, 4000][i % 3] as number), { mode: 0o644 });
      if (i % 4 === 0) linkSync(name, join(own, `image-link-${i}`));
    }
  }
  await succeed(['chown', '-R', `${NOBODY}:${NOBODY}`, source]);
  image = (await scratch.pack(source)).image;
});

function layersOf(owner: number, words: readonly string[] = []): Layers {
  const layers = newLayers(scratch, ...words);
  for (const path of [layers.base, layers.upper, layers.work]) chownSync(path, owner, owner);
  return layers;
}

/** What a writer knows of a name. */
interface Entry {
  readonly ino: number;
  readonly links: number;
  readonly size: number;
  /** Absent for a symbolic link. */
  readonly mode?: number;
  readonly mtime?: number;
  readonly sha256: string;
  readonly xattr?: string;
}

/** The output of storm-load.mjs. */
interface Storm {
  readonly steps: number;
  /** In milliseconds. */
  readonly longest: number;
  readonly error?: string;
  readonly entries: readonly (readonly [string, Entry])[];
  /** Names and inode numbers. */
  readonly directories: readonly (readonly [string, number])[];
}

interface StormSettings {
  readonly place?: Place;
  readonly seed: number;
  /** Further arguments of the writers. */
  readonly args?: readonly string[];
  /** Called after each kill, with their number: whether another one is to follow. */
  isToGoOn(kills: number, ended: number): boolean;
}

/** Runs the writers, and kills the server until `isToGoOn` says no. Returns what they found, and the kills. */
async function storm(mounted: Mounted, { place = HERE, seed, args = [], isToGoOn }: StormSettings) {
  const stop = `${mounted.path}.stop`;
  const program = join(import.meta.dirname, 'storm-load.mjs');
  let ended = 0;
  const writers = WRITERS.map(async (writer) => {
    const own = [mounted.at(`writer-${writer}`), String(seed * 10 + writer), stop];
    const out = await succeed(place.command(process.execPath, program, ...own, ...args), { timeoutMs: 3_600_000 });
    ended++;
    return JSON.parse(out) as Storm;
  });
  const random = new Random(seed);
  let kills = 0;
  for (let goesOn = true; goesOn; goesOn = isToGoOn(kills, ended)) {
    // it answers before it is killed, so that it gets to all that a server does
    await succeed(place.command('stat', '-f', mounted.path));
    await sleep(random.integer(0, 400));
    const server = sessionMembers(mounted.pid).find((pid) => !isSupervisor(pid)) as number;
    process.kill(server, 'SIGKILL');
    kills++;
    await until(`${server} has ended`, () => !isAlive(server));
  }
  writeFileSync(stop, '');
  return { kills, storms: await Promise.all(writers) };
}

const isSymlink = ({ mode }: Entry): boolean => mode === undefined;

/**
 * Differences between what the writers know and what is in the mount.
 * @param linksKeepIds whether symbolic links must have the same inode numbers
 */
function differences(mounted: Mounted, storms: readonly Storm[], linksKeepIds = true): string[] {
  const found: string[] = [];
  storms.forEach(({ entries, directories }, i) => {
    const at = (name: string): string => mounted.at(`writer-${WRITERS[i]}`, name);
    for (const [name, entry] of entries) {
      const now = entryAt(at(name), entry);
      const expected = linksKeepIds || !isSymlink(entry) ? entry : { ...entry, ino: now.ino };
      if (JSON.stringify(now) !== JSON.stringify(expected)) {
        found.push(`${at(name)}: ${JSON.stringify(now)} in place of ${JSON.stringify(expected)}`);
      }
    }
    for (const [name, ino] of directories) {
      const inside = [...entries, ...directories].filter(([other]) => other !== '.' && dirname(other) === name);
      const listed = readdirSync(at(name));
      if (lstatSync(at(name)).ino !== ino || listed.length !== inside.length) found.push(`${at(name)}: ${listed}`);
    }
  });
  return found;
}

/** The same fields as those of `expected`. */
function entryAt(path: string, expected: Entry): Entry {
  const { ino, nlink, size, mode, mtimeMs } = lstatSync(path);
  const isLink = isSymlink(expected);
  const content = isLink ? 'target' : readFileSync(path);
  const xattr = getXattr(path, 'user.storm');
  return {
    ino,
    links: nlink,
    size,
    ...(isLink ? {} : { mode: mode & 0o777 }),
    ...(expected.mtime === undefined ? {} : { mtime: mtimeMs }),
    sha256: createHash('sha256').update(content).digest('hex'),
    ...(isErrno(xattr as number) ? {} : { xattr: Buffer.from(xattr as Uint8Array).toString('hex') }),
  };
}

const handles = (mounted: Mounted, storms: readonly Storm[], linksKeepIds = true): string[] =>
  storms.flatMap(({ entries }, i) =>
    entries
      .filter(([, entry]) => linksKeepIds || !isSymlink(entry))
      .map(([name]) => formatHandle(handleOf(mounted.at(`writer-${WRITERS[i]}`, name)))),
  );

const variants: readonly (readonly [string, readonly string[]])[] = [
  ['several threads', []],
  ['one thread', ['threads=1']],
  ['volatile', ['volatile']],
  ['userxattr', ['userxattr']],
];
/** A short run has the first. */
const chosen = KILLS > KILLS_OF_SHORT_RUN ? variants : variants.slice(0, 1);

describe.each(chosen)('the server of a mount with %s', (_name, words) => {
  test('is killed again and again: writers see no error, and all that they did is there after a remount', async () => {
    const layers = layersOf(0, words);
    const mounted = await scratch.mount(image, { words: layers.words });
    const isToGoOn = (kills: number, ended: number): boolean => kills < KILLS && ended === 0;
    const isOfUser = words.includes('userxattr');
    const args = isOfUser ? ['no-redirects'] : [];
    const { kills, storms } = await storm(mounted, { seed: 1, args, isToGoOn });
    expect(storms.flatMap(({ error }) => error ?? [])).toEqual([]);
    expect(kills).toBe(KILLS);
    expect(differences(mounted, storms)).toEqual([]);
    // symbolic links can have no xattrs of users: their ids are in the table alone
    const keepIds = [true, !isOfUser];
    const before = keepIds.map((linksKeepIds) => handles(mounted, storms, linksKeepIds));
    await mounted.unmount();
    console.log(`${kills} kills: ${storms.map(({ steps, longest }) => `${steps} steps, ${longest} ms`).join('; ')}`);

    for (const [i, hasTable] of [true, false].entries()) {
      if (!hasTable) rmSync(join(layers.work, 'work/cfs-ids'));
      const again = await scratch.mount(image, { words: layers.words });
      expect(differences(again, storms, keepIds[i]), `with a table: ${hasTable}`).toEqual([]);
      expect(handles(again, storms, keepIds[i])).toEqual(before[i]);
      expect(readdirSync(join(layers.work, 'cfs/orphans'))).toEqual([]);
      await again.unmount();
    }
  });
});

test('a server that does not look for what the last one had begun shows errors to the writers', async () => {
  const project = scratch.at('mutant');
  const pattern = /isResent \? this\.#intents\.find\([^;]*\) : void 0/;
  copyWithChange(dirname(OWN_TOOLS.dist), project, pattern, 'void 0');
  const place = new Place('mutant', [], { node: OWN_TOOLS.node, dist: join(project, 'dist') });
  const mounted = await scratch.mount(image, { words: layersOf(0).words, place });
  const isToGoOn = (kills: number, ended: number): boolean => kills < KILLS_OF_MUTANT && ended === 0;
  const { storms } = await storm(mounted, { seed: 2, isToGoOn });
  expect(storms.flatMap(({ error }) => error ?? []).join('\n')).toMatch(/ENOENT|EEXIST|in place of/);
  await run(['umount', mounted.path]);
});
