/** Random changes of one file, compared with the bytes in memory after each: as fsx, which Debian does not have. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { Random } from '../support/random.ts';
import { withSeeds } from './duration.ts';
import { type Change, changes, Exerciser } from './exerciser.ts';
import { MAKE_SITE, type Site, type SiteName, TESTED } from './sites.ts';

const scratch = useScratch();
const FILES = 40;
const content = new Random(3).bytes(150_000);
const nameOf = (index: number): string => `file-${index}`;
let lower: string | undefined;

function lowerFiles(): string {
  if (lower === undefined) {
    lower = scratch.directory('lower');
    mkdirSync(join(lower, 'new'));
    for (let i = 0; i < FILES; i++) writeFileSync(join(lower, nameOf(i)), content);
  }
  return lower;
}

/** Unchanged files of either layer. */
class Files {
  readonly #name: SiteName;
  #site: Site | undefined;
  #used = 0;

  constructor(name: SiteName) {
    this.#name = name;
  }

  async next(layer: 'lower' | 'upper'): Promise<Exerciser> {
    if (this.#site === undefined || this.#used === FILES) {
      await this.end();
      this.#site = await MAKE_SITE[this.#name](scratch, lowerFiles());
    }
    const { root } = this.#site as Site;
    const index = this.#used++;
    if (layer === 'lower') return new Exerciser(join(root, nameOf(index)), content);
    const path = join(root, 'new', nameOf(index));
    writeFileSync(path, content);
    return new Exerciser(path, content);
  }

  async remount(): Promise<void> {
    await this.#site?.remount();
  }

  async end(): Promise<void> {
    await this.#site?.end();
    this.#site = undefined;
    this.#used = 0;
  }
}

function exercise(file: Exerciser, list: readonly Change[]): void {
  try {
    for (const change of list) file.do(change);
    file.finish();
  } finally {
    file.close();
  }
}

describe.each(TESTED)('on %s', (name) => {
  const files = new Files(name);
  afterEach(() => files.end());

  test.each(['lower', 'upper'] as const)('a file of the %s layer has the bytes that were written', (layer) =>
    withSeeds(`exerciser on ${name}`, (seed) =>
      fc.assert(
        fc.asyncProperty(changes, async (list) => exercise(await files.next(layer), list)),
        { seed, numRuns: FILES },
      ),
    ),
  );

  test('and still has them after it was mounted again', async () => {
    const lists = fc.sample(changes, { seed: 7, numRuns: 6 });
    const done: Exerciser[] = [];
    for (const list of lists) {
      const file = await files.next('lower');
      exercise(file, list);
      done.push(file);
    }
    await files.remount();
    for (const file of done) file.checkPath();
  });
});

test('the exerciser finds a byte that was changed behind its back', () => {
  const path = join(scratch.directory(), 'file');
  writeFileSync(path, content);
  const file = new Exerciser(path, content);
  file.do({ op: 'write', at: 1000, length: 10, fill: 1 });
  writeFileSync(path, Buffer.from(content).fill(1, 1000, 1010).fill(0, 70_000, 70_001));
  expect(() => file.finish()).toThrow(/byte 70000 of 150000 is 0/);
  file.close();
});
