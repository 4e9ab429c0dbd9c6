/**
 * The power fails while processes write: copies of the upper layer's disk at some moments (crash/disks.ts). In each,
 * all that was synced before must be there, nothing half done, and overlayfs must show the same.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Mounted, useScratch } from '../e2e/harness.ts';
import { Overlay } from '../e2e/overlay.ts';
import { HERE, NOBODY, type Place, run, succeed } from '../e2e/run.ts';
import { Random } from '../support/random.ts';
import { wrongStates } from './crash/check.ts';
import { Disk, type DiskType, mountCloning } from './crash/disks.ts';
import {
  bytesOf,
  imageOf,
  MOVES_DIRECTORY,
  makeTransactions,
  type State,
  type Transaction,
} from './crash/transactions.ts';
import { type Copy, Writer, writePlan } from './crash/writer.ts';
import { SECONDS, withSeeds } from './duration.ts';
import { lookWithoutIds, pinAll } from './layer-views.ts';
import { differences, type View } from './look.ts';
import { allowedOn } from './model/known-differences.ts';
import { OVERLAY_OPTIONS } from './sites.ts';

const scratch = useScratch();

const WRITERS = [0, 1, 2];
/** Of each writer. */
const TRANSACTIONS = SECONDS > 0 ? 360 : 72;
const COPIES = SECONDS > 0 ? 4 : 2;

/** A mount on a disk of one type. */
interface Variant {
  readonly type: DiskType;
  /** An ordinary user has no passthrough, so the kernel collects the writes; and cannot rename directories. */
  readonly isUser?: boolean;
  readonly words?: readonly string[];
  /** Of mount(8), for the disk. */
  readonly options?: string;
}

const VARIANTS: readonly (readonly [string, Variant])[] = [
  ['ext4', { type: 'ext4' }],
  ['xfs', { type: 'xfs' }],
  ['btrfs', { type: 'btrfs' }],
  ['ext4, of an ordinary user', { type: 'ext4', isUser: true }],
];

let clones: string;
let image: string;
let below: Mounted;
let pinned: readonly number[] = [];
/** Of each writer, in an order of its own. */
let transactions: readonly Transaction[];

beforeAll(async () => {
  clones = await mountCloning(scratch);
  transactions = makeTransactions(TRANSACTIONS, new Random(1));
  const source = scratch.directory('source');
  // an ordinary user has no access to the sources
  copyFileSync(join(import.meta.dirname, 'crash/writer.mjs'), scratch.at('writer.mjs'));
  for (const writer of WRITERS) makeImage(join(source, `writer-${writer}`));
  await succeed(['chown', '-R', `${NOBODY}:${NOBODY}`, source]);
  ({ image } = await scratch.pack(source));
  chmodSync(image, 0o644);
  below = await scratch.mount(image);
  pinned = pinAll(below.path);
});

afterAll(() => {
  for (const fd of pinned) closeSync(fd);
});

/** Makes the files that the transactions expect, with hard links. */
function makeImage(root: string): void {
  mkdirSync(root);
  const entries = imageOf(transactions);
  for (const [path, state] of entries) {
    if (state === 'directory') mkdirSync(join(root, path));
    else if (typeof state === 'object' && 'parts' in state) writeFileSync(join(root, path), bytesOf(state.parts));
  }
  for (const { same = [] } of transactions) {
    const [first, second] = same.filter((path) => entries.has(path)).map((path) => join(root, path));
    if (first === undefined || second === undefined) continue;
    rmSync(second);
    linkSync(first, second);
  }
}

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

let counter = 0;

/** A new file on the file system that can clone. */
const newFile = (name: string): string => join(clones, `${name}-${++counter}`);

/** Unmounts a disk when the test is over, at the latest. */
async function keep(disk: Promise<Disk>): Promise<Disk> {
  const kept = await disk;
  ending.push(() => run(['umount', '-l', kept.at]));
  return kept;
}

async function newDisk({ type, isUser = false, options }: Variant): Promise<Disk> {
  const disk = await keep(Disk.make(scratch, newFile('disk'), type, options));
  for (const name of ['upper', 'work']) {
    mkdirSync(join(disk.at, name));
    if (isUser) chownSync(join(disk.at, name), NOBODY, NOBODY);
  }
  await succeed(['sync', '-f', disk.at]);
  return disk;
}

const placeOf = ({ isUser = false }: Variant): Place => (isUser ? scratch.nobody() : HERE);

const settingsOf = (disk: Disk, variant: Variant) => {
  const { isUser = false, words = [] } = variant;
  const layers = [`upperdir=${disk.at}/upper`, `workdir=${disk.at}/work`];
  const at = scratch.directory('mnt');
  if (isUser) chownSync(at, NOBODY, NOBODY);
  return {
    place: placeOf(variant),
    helper: isUser,
    at,
    words: [...layers, ...words, ...(isUser ? ['userxattr'] : [])],
  };
};

async function copyOf(disk: Disk): Promise<Copy> {
  const file = newFile('copy');
  const from = process.hrtime.bigint();
  await disk.copyTo(file);
  return { file, from, to: process.hrtime.bigint() };
}

/**
 * Runs the writers in a mount until they end. Copies its disk several times meanwhile: in each part of their work at a
 * random moment.
 */
async function writeAndCopy(mounted: Mounted, disk: Disk, random: Random, variant: Variant) {
  const isPossible = ({ name }: Transaction): boolean => variant.isUser !== true || name !== MOVES_DIRECTORY;
  const done = transactions.filter(isPossible);
  const left = transactions.filter((one) => !isPossible(one));
  const share = Math.floor((WRITERS.length * done.length) / COPIES);
  const moments = Array.from({ length: COPIES }, (_, i) => i * share + random.integer(1, share));
  const made: Promise<Copy>[] = [];
  const onLine = (): void => {
    const count = writers.reduce((sum, writer) => sum + writer.done, 0);
    while (made.length < COPIES && count >= (moments[made.length] as number)) made.push(copyOf(disk));
  };
  // without xattrs, an id is only in the table
  const hasId = (state: State): boolean => !(variant.isUser === true && typeof state === 'object' && 'target' in state);
  const writers = WRITERS.map((i) => {
    const order = [...random.shuffled(done), ...left];
    const plan = scratch.at(`plan-${++counter}`);
    writePlan(plan, order.slice(0, done.length), hasId);
    const place = placeOf(variant);
    const command = [place.tools.node, scratch.at('writer.mjs'), mounted.at(`writer-${i}`), plan];
    return new Writer(place.command(...command), order, onLine);
  });
  await Promise.all(writers.map(({ ended }) => ended));
  return { writers, copies: await Promise.all(made) };
}

/** What is wrong in a tree after the failure. Inode numbers are compared in a mount of cfs. */
const wrongIn = (root: string, writers: readonly Writer[], copy: Copy, isCfs: boolean): string[] =>
  writers.flatMap((writer, i) => {
    const { durable, begun } = writer.progress(copy);
    const known = isCfs ? durable : durable.map(() => new Map<string, number>());
    const wrong = wrongStates(join(root, `writer-${i}`), writer.order, { durable: known, begun });
    return wrong.map((text) => `writer ${i}: ${text}`);
  });

const cloneOf = async (file: string): Promise<string> => {
  const clone = newFile('clone');
  await succeed(['cp', '--reflink=always', file, clone]);
  return clone;
};

/** Checks a copy through cfs. Returns what is visible in it. */
async function checkThroughCfs(file: string, variant: Variant, writers: readonly Writer[], copy: Copy) {
  const disk = await keep(Disk.attach(scratch, file, variant.type));
  const { words } = settingsOf(disk, variant);
  // a mount of root, which sees all, has a work directory of root
  for (const name of readdirSync(disk.at, { recursive: true, encoding: 'utf8' })) {
    if (/^work\/(?:work|index|cfs|cfs\/.*)$/.test(name)) chownSync(join(disk.at, name), 0, 0);
  }
  const mounted = await scratch.mount(image, { words });
  expect(wrongIn(mounted.path, writers, copy, true)).toEqual([]);
  const views = lookWithoutIds(mounted.path);
  await mounted.unmount();
  await disk.unmount();
  return views;
}

/**
 * Whether a rename had begun of which btrfs noted the new name, and not the whiteout in the place of the old one: then
 * both are there, with one inode. Overlayfs answers ESTALE for the second that it meets.
 */
const isHalfMoved = (views: ReadonlyMap<string, View>, writers: readonly Writer[], copy: Copy): boolean =>
  writers.some((writer, i) => {
    const { durable, begun } = writer.progress(copy);
    return writer.order
      .slice(durable.length, begun)
      .some(({ kept = [] }) => kept.length > 0 && kept.every((path) => views.has(`writer-${i}/${path}`)));
  });

/** Checks a copy through overlayfs, which must show the same. */
async function checkThroughOverlay(file: string, variant: Variant, check: (root: string) => void): Promise<void> {
  const disk = await keep(Disk.attach(scratch, file, variant.type));
  const options = variant.isUser === true ? ['userxattr', 'index=on', 'xino=auto'] : OVERLAY_OPTIONS;
  const overlay = new Overlay(scratch.directory('overlay'), [below.path], disk.at, options);
  await overlay.mount();
  ending.push(() => overlay.unmount());
  check(overlay.at);
  await overlay.unmount();
  await disk.unmount();
}

describe.each(VARIANTS)('with the upper layer on %s', (name, variant) => {
  test('all that was synced is there after a power failure, and nothing is half done', () =>
    withSeeds(`power loss on ${name}`, async (seed) => {
      const disk = await newDisk(variant);
      const mounted = await scratch.mount(image, settingsOf(disk, variant));
      const { writers, copies } = await writeAndCopy(mounted, disk, new Random(seed), variant);
      expect(copies).toHaveLength(COPIES);
      await mounted.unmount();
      await disk.unmount();
      for (const copy of copies) {
        const before = await cloneOf(copy.file);
        const views = await checkThroughCfs(copy.file, variant, writers, copy);
        const isLoose = variant.type === 'btrfs';
        if (!isLoose || !isHalfMoved(views, writers, copy)) {
          // on btrfs a file without data may have lost its size, which overlayfs alone does not restore
          await checkThroughOverlay(isLoose ? copy.file : before, variant, (root) => {
            expect(wrongIn(root, writers, copy, false)).toEqual([]);
            expect(differences(views, lookWithoutIds(root), allowedOn('overlayfs'))).toEqual([]);
          });
        }
        for (const file of [before, copy.file]) rmSync(file);
      }
      rmSync(disk.file);
    }));
});

const volatileOn: readonly DiskType[] = SECONDS > 0 ? ['ext4', 'xfs', 'btrfs'] : ['ext4'];

describe.each(volatileOn)('a volatile mount on %s', (type) => {
  test('is refused after a power failure, by cfs and by overlayfs', async () => {
    // nothing is written before it has to be
    const variant: Variant = { type, words: ['volatile'], ...(type === 'xfs' ? {} : { options: 'commit=300' }) };
    const disk = await newDisk(variant);
    const mounted = await scratch.mount(image, settingsOf(disk, variant));
    const { writers, copies } = await writeAndCopy(mounted, disk, new Random(7), variant);
    await mounted.unmount();
    await disk.unmount();
    let lost = 0;
    for (const copy of copies) {
      const crashed = await keep(Disk.attach(scratch, copy.file, type));
      const { status, stderr } = await scratch.tryMount(image, settingsOf(crashed, { type }));
      expect({ status, stderr }).toEqual({ status: 32, stderr: expect.stringContaining('volatile') });
      const overlay = new Overlay(scratch.directory('overlay'), [below.path], crashed.at, OVERLAY_OPTIONS);
      await expect(overlay.mount()).rejects.toThrow(/wrong fs type|Invalid argument|bad option/);
      // the checks of the other tests find that much is missing
      rmSync(join(crashed.at, 'work/work/incompat'), { recursive: true });
      expect(readdirSync(join(crashed.at, 'work/work'))).not.toContain('incompat');
      const again = await scratch.mount(image, settingsOf(crashed, { type }));
      lost += wrongIn(again.path, writers, copy, true).length;
      await again.unmount();
      await crashed.unmount();
    }
    expect(lost).toBeGreaterThan(10);
  });
});
