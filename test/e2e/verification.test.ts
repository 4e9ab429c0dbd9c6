/** Damaged objects: EIO, a line in the log, and never a wrong byte. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { type DamagedImage, inflict, packVictims, readBy, sha256 } from './damage.ts';
import { type Mounted, useScratch } from './harness.ts';
import { HERE, type Place, succeed } from './run.ts';
import { until } from './system.ts';

const scratch = useScratch();
const EIO = 'Input/output error';
const PAGE = 4096;

/** The lines of a log that name `text`; they may come a moment after the reader's error. */
async function linesNaming(log: string, text: string): Promise<string[]> {
  const lines = (): string[] =>
    readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.includes(text));
  await until(`${log} has a line with ${text}`, () => lines().length > 0);
  return lines();
}

/** The results of `readBy` if EIO comes after one or more pages of `content`. */
function pagesBeforeError(content: Buffer): string[] {
  const hash = createHash('sha256');
  const results: string[] = [];
  for (let end = PAGE; end < content.length; end += PAGE) {
    hash.update(content.subarray(end - PAGE, end));
    results.push(`${EIO}, after bytes with SHA-256 ${hash.copy().digest('hex')}`);
  }
  return results;
}

interface Setting {
  readonly title: string;
  readonly hash: string;
  readonly words: readonly string[];
  readonly passthrough: boolean;
  readonly place: () => Promise<Place>;
}

const SETTINGS: readonly Setting[] = [
  { title: 'root, with passthrough', hash: 'blake3', words: [], passthrough: true, place: async () => HERE },
  {
    title: 'a user namespace, without passthrough',
    hash: 'blake3',
    words: [],
    passthrough: false,
    place: () => scratch.namespace('user namespace'),
  },
  {
    title: 'root, with fs-verity digests',
    hash: 'fsverity-sha256',
    words: ['threads=1'],
    passthrough: true,
    place: async () => HERE,
  },
  ...['blake3', 'fsverity-sha256'].map((hash) => ({
    title: `root, block by block, with ${hash}`,
    hash,
    words: ['verify=read'],
    passthrough: false,
    place: async () => HERE,
  })),
  {
    title: 'root, through fuse-native',
    hash: 'blake3',
    words: ['driver=fuse-native'],
    passthrough: false,
    place: async () => HERE,
  },
];

describe.each(SETTINGS)('cfs-mount for $title', ({ title, hash, words, passthrough, place: placeOf }) => {
  let victims: DamagedImage;
  let whole: string;
  let place: Place;
  let mounted: Mounted;
  const log = scratch.at(`${title}.log`);

  beforeAll(async () => {
    place = await placeOf();
    victims = await packVictims(scratch, scratch.at(`store of ${title}`), ['--hash', hash]);
    whole = scratch.at(`whole store of ${title}`);
    cpSync(victims.store, whole, { recursive: true });
    inflict(victims);
    mounted = await scratch.mount(victims.image, { place, words, repos: [victims.store], args: ['--log', log] });
    expect(mounted.report.passthrough).toBe(passthrough);
  });

  test('returns EIO and no byte of a damaged object, at any time of reading', async () => {
    expect(victims.damaged.length).toBe(18);
    for (let pass = 0; pass < 2; pass++) {
      const results = await Promise.all(victims.damaged.map(({ name }) => readBy(place, mounted.at(name))));
      // with verification by blocks, the bytes before the damage are served, and are right
      const expected = victims.damaged.map(({ content }, i) => {
        const result = results[i] as string;
        const right = words.includes('verify=read') ? pagesBeforeError(content) : [];
        return right.find((prefix) => prefix === result) ?? EIO;
      });
      expect(results).toEqual(expected);
    }
  });

  test('serves intact objects beside it, and the metadata of all', async () => {
    for (const { name, content } of victims.whole) expect(await readBy(place, mounted.at(name))).toBe(sha256(content));
    const paths = victims.damaged.map(({ name }) => mounted.at(name));
    const sizes = await succeed(place.command('stat', '--format=%s', ...paths));
    expect(sizes).toBe(victims.damaged.map(({ content }) => `${content.length}\n`).join(''));
  });

  test('logs path, object and repository of each', async () => {
    for (const { name, digest, log: reason } of victims.damaged) {
      for (const line of await linesNaming(log, digest)) {
        expect(line).toContain(`/${name}: object ${digest}: ${victims.store}: `);
        expect(line).toMatch(reason);
        expect(line).toMatch(/: EIO$/);
      }
    }
    expect(readFileSync(log, 'utf8')).not.toContain('whole');
  });

  test('uses the good copy of a later repository, and reports the place of the bad one', async () => {
    const secondLog = scratch.at(`second ${title}.log`);
    const repos = [victims.store, whole];
    const second = await scratch.mount(victims.image, { place, words, repos, args: ['--log', secondLog] });
    for (const { name, content } of victims.damaged) expect(await readBy(place, second.at(name))).toBe(sha256(content));
    for (const { name, digest, log: reason } of victims.damaged) {
      if (name.endsWith('missing')) continue; // a later repository exists for this case
      const [line] = await linesNaming(secondLog, digest);
      expect(line).toContain(`/${name}: object ${digest}: ${victims.store}: `);
      expect(line).toMatch(reason);
      expect(line).toContain(`: served from ${whole} instead`);
    }
    expect(readFileSync(secondLog, 'utf8')).not.toMatch(/missing|EIO/);
  });

  test('never searches a later repository while the first is good', async () => {
    const quietLog = scratch.at(`quiet ${title}.log`);
    const repos = [whole, victims.store];
    const quiet = await scratch.mount(victims.image, { place, words, repos, args: ['--log', quietLog] });
    for (const { name, content } of victims.damaged) expect(await readBy(place, quiet.at(name))).toBe(sha256(content));
    await quiet.unmount();
    expect(existsSync(quietLog) ? readFileSync(quietLog, 'utf8') : '').toBe('');
  });

  test('with verify=off serves any content, but nothing of another size', async () => {
    const off = await scratch.mount(victims.image, {
      place,
      words: [...words.filter((word) => !word.startsWith('verify=')), 'verify=off'],
      repos: [victims.store],
      args: ['--log', scratch.at(`off ${title}.log`)],
    });
    expect(off.report.verify).toBe('off');
    for (const { name, content } of victims.damaged) {
      const result = await readBy(place, off.at(name));
      const sameSize = /flipped|zeroed/.test(name);
      if (sameSize)
        expect([name, /^[0-9a-f]{64}$/.test(result), result === sha256(content)]).toEqual([name, true, false]);
      else expect([name, result]).toEqual([name, EIO]);
    }
  });
});
