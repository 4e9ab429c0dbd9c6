/** Objects that change, appear and disappear while an image is mounted. */
import { chmodSync, copyFileSync, cpSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { Random } from '../support/random.ts';
import { flipBit, objectPath, readBy, sha256 } from './damage.ts';
import { type Mounted, useScratch } from './harness.ts';
import { HERE, type Place, run } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
const EIO = 'Input/output error';
const random = new Random(5);

interface Victim {
  readonly name: string;
  readonly content: Buffer;
  readonly digest: string;
  /** The object's file. */
  readonly object: string;
}

/** Packs files of these lengths into a new store. */
async function packFiles(lengths: Readonly<Record<string, number>>) {
  const source = scratch.directory('source');
  const store = scratch.directory('store');
  const names = Object.keys(lengths);
  for (const name of names) writeFileSync(join(source, name), random.bytes(lengths[name] as number));
  const { image } = await scratch.pack(source, { store });
  const { stdout } = await scratch.tool('cfs-info', ['stat', '--json', image, ...names]);
  const digests = (JSON.parse(stdout) as { object: string }[]).map(({ object }) => object);
  const victims = new Map<string, Victim>();
  names.forEach((name, i) => {
    const digest = digests[i] as string;
    const object = objectPath(store, digest);
    chmodSync(object, 0o644);
    victims.set(name, { name, digest, object, content: readFileSync(join(source, name)) });
  });
  return { image, store, victims };
}

const LENGTHS = {
  later: 200_000,
  'at once': 200_000,
  replaced: 200_000,
  missing: 200_000,
  removed: 3_000_000,
  bad: 3_000_000,
  good: 3_000_000,
} as const;

const PLACES: readonly { title: string; words: readonly string[]; place: () => Promise<Place> }[] = [
  { title: 'root, with passthrough', words: [], place: async () => HERE },
  { title: 'a user namespace', words: [], place: () => scratch.namespace('user namespace') },
  { title: 'root, through fuse-native', words: ['driver=fuse-native'], place: async () => HERE },
];

describe.each(PLACES)('cfs-mount for $title', ({ title, words, place: placeOf }) => {
  const logFile = scratch.at(`${title}.log`);
  let packed: Awaited<ReturnType<typeof packFiles>>;
  let mounted: Mounted;
  let place: Place;

  beforeAll(async () => {
    place = await placeOf();
    packed = await packFiles(LENGTHS);
    writeFileSync(logFile, '');
    mounted = await scratch.mount(packed.image, { place, words, repos: [packed.store], args: ['--log', logFile] });
  });

  const victim = (name: keyof typeof LENGTHS): Victim => packed.victims.get(name) as Victim;
  const read = ({ name }: Victim): Promise<string> => readBy(place, mounted.at(name));
  const log = (): string => readFileSync(logFile, 'utf8');

  test('finds a bit that was flipped in place after the object was verified and closed', async () => {
    const later = victim('later');
    const whole = sha256(later.content);
    // a ctime as old as this is trusted: the second read does not hash again
    await sleep(100);
    expect([await read(later), await read(later)]).toEqual([whole, whole]);
    flipBit(later.object, 100_000);
    expect([await read(later), await read(later)]).toEqual([EIO, EIO]);
    await until('the log tells it', () => log().includes(later.digest));
    expect(log()).toMatch(/\/later: object .*: its content is corrupted/);
    flipBit(later.object, 100_000);
    expect(await read(later)).toBe(whole);
  });

  test('finds a bit that was flipped right after the first read, in the same tick of the clock', async () => {
    const atOnce = victim('at once');
    for (let i = 0; i < 5; i++) {
      writeFileSync(atOnce.object, atOnce.content);
      expect(await read(atOnce)).toBe(sha256(atOnce.content));
      flipBit(atOnce.object, i * 1000);
      expect(await read(atOnce)).toBe(EIO);
    }
  });

  test('serves an object that was replaced by a good copy, and none that was replaced by a bad one', async () => {
    const { object, content } = victim('replaced');
    expect(await read(victim('replaced'))).toBe(sha256(content));
    const copy = `${object}.copy`;
    copyFileSync(object, copy);
    renameSync(copy, object);
    expect(await read(victim('replaced'))).toBe(sha256(content));
    writeFileSync(copy, random.bytes(content.length));
    renameSync(copy, object);
    expect(await read(victim('replaced'))).toBe(EIO);
  });

  test('serves an object again that was missing at first', async () => {
    const { object, content, digest } = victim('missing');
    renameSync(object, `${object}.away`);
    expect(await read(victim('missing'))).toBe(EIO);
    await until('the log tells it', () => log().includes('it is missing'));
    expect(log()).toContain(`/missing: object ${digest}: ${packed.store}: it is missing`);
    renameSync(`${object}.away`, object);
    expect(await read(victim('missing'))).toBe(sha256(content));
  });

  test('continues to read an open file after its object is removed', async () => {
    const { name, object, content } = victim('removed');
    const script = 'exec 3< "$1" && rm "$2" && cat <&3 | sha256sum; exec 3<&-; cat "$1"';
    const { status, stdout, stderr } = await run(place.command('sh', '-c', script, 'sh', mounted.at(name), object));
    expect(stdout).toBe(`${sha256(content)}  -\n`);
    expect(status).toBe(1);
    expect(stderr).toContain(EIO);
  });

  test('returns EIO to each of many readers at once, or all the right bytes', async () => {
    const readers = (file: Victim): Promise<string[]> => Promise.all(Array.from({ length: 8 }, () => read(file)));
    flipBit(victim('bad').object, 2_999_999);
    expect(await readers(victim('bad'))).toEqual(Array(8).fill(EIO));
    expect(await readers(victim('good'))).toEqual(Array(8).fill(sha256(victim('good').content)));
  });
});

describe('cfs-mount for an ordinary user', () => {
  test('returns EIO for an object that he may not read, and uses a later repository that he may read', async () => {
    const { image, store, victims } = await packFiles({ file: 10_000 });
    const { object, content, digest } = victims.get('file') as Victim;
    const copy = scratch.directory('copy');
    cpSync(store, copy, { recursive: true });
    chmodSync(object, 0o600);
    const place = await scratch.namespaceOfNobody();
    const logFile = join(scratch.directory('log'), 'log');
    writeFileSync(logFile, '');
    chmodSync(logFile, 0o666);
    const args = ['--log', logFile];
    const one = await scratch.mount(image, { place, repos: [store], args });
    expect(await readBy(place, one.at('file'))).toBe(EIO);
    await until('the log tells it', () => readFileSync(logFile, 'utf8').includes('EACCES'));
    expect(readFileSync(logFile, 'utf8')).toContain(`/file: object ${digest}: ${store}: EACCES: EIO`);
    const two = await scratch.mount(image, { place, repos: [store, copy], args });
    expect(await readBy(place, two.at('file'))).toBe(sha256(content));
  });
});
