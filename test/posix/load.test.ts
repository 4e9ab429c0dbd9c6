/** Several processes change one file system at once, and check all results, as in fsstress. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { useScratch } from '../e2e/harness.ts';
import { run } from '../e2e/run.ts';
import { Random } from '../support/random.ts';
import { SECONDS, withSeeds } from './duration.ts';
import { MAKE_SITE, type Site, TESTED } from './sites.ts';

const scratch = useScratch();
const WORKERS = 4;
const STEPS = SECONDS > 0 ? 2000 : 300;

/** A tree with some files in each worker's directory, and in the shared one. */
function makeLower(): string {
  const lower = scratch.directory('lower');
  const random = new Random(5);
  for (let worker = 0; worker < WORKERS; worker++) {
    for (const directory of ['one', 'one/two', 'three']) {
      const path = join(lower, `worker-${worker}`, directory);
      mkdirSync(path, { recursive: true });
      for (let i = 0; i < 4; i++) writeFileSync(join(path, `file${i}`), random.bytes(random.integer(0, 20_000)));
    }
  }
  for (const directory of ['shared', 'shared/dir0', 'shared/dir1']) {
    mkdirSync(join(lower, directory));
    for (let i = 0; i < 4; i++) {
      const body = random.bytes(random.integer(0, 9000));
      writeFileSync(
        join(lower, directory, `file${i}`),
        Buffer.concat([createHash('sha1').update(body).digest(), body]),
      );
    }
  }
  return lower;
}

/** Describes a directory as a worker does. */
function leftIn(directory: string): Record<string, string> {
  const left: Record<string, string> = {};
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const path = join(directory, name);
    const status = lstatSync(path);
    if (status.isDirectory()) left[name] = 'directory';
    else if (status.isSymbolicLink()) left[name] = `link ${readlinkSync(path)}`;
    else {
      const hash = createHash('sha1').update(readFileSync(path)).digest('hex');
      left[name] = `file ${(status.mode & 0o7777).toString(8)} ${status.nlink} ${hash}`;
    }
  }
  return left;
}

describe.each(TESTED)('on %s', (name) => {
  let site: Site | undefined;
  afterEach(async () => {
    await site?.end();
    site = undefined;
  });

  test('each process finds what it wrote, also after it was mounted again', () =>
    withSeeds(`load on ${name}`, async (seed) => {
      site = await MAKE_SITE[name](scratch, makeLower());
      const { root } = site;
      const program = join(import.meta.dirname, 'load-worker.mjs');
      const workers = Array.from({ length: WORKERS }, (_, i) =>
        run([process.execPath, program, root, `${i}`, `${seed + i}`, `${STEPS}`], { timeoutMs: 540_000 }),
      );
      const outcomes = await Promise.all(workers);
      expect(outcomes.map(({ stderr }) => stderr).filter((text) => text !== '')).toEqual([]);
      const expected = outcomes.map(({ stdout }) => JSON.parse(stdout) as Record<string, string>);
      const left = (): Record<string, string>[] => expected.map((_, i) => leftIn(join(root, `worker-${i}`)));
      expect(left()).toEqual(expected);
      const shared = leftIn(join(root, 'shared'));
      await site.remount();
      expect(left()).toEqual(expected);
      expect(leftIn(join(root, 'shared'))).toEqual(shared);
      await site.end();
    }));
});
