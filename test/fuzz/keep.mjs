// In place of a target, for scripts/fuzz: of what a run of $CFS_FUZZ_TARGET has found, in $CFS_FUZZ_FOUND, it copies a few inputs into
// the corpus, those that reach the most of what nothing there reaches. libFuzzer's own merge starts its program anew, and does not
// know how.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fuzzer } from '@jazzer.js/fuzzer';

/** Files of a corpus, each of which is read by every run. */
const MOST = 40;

const { CFS_FUZZ_TARGET: name, CFS_FUZZ_FOUND: found } = process.env;
const target = await import(`./${name}.mjs`);

/** The places in the code that an input reaches. Each module has its own counters. */
function reachedBy(bytes) {
  const { moduleCounters } = /** @type {any} */ (fuzzer.coverageTracker);
  for (const counters of moduleCounters) counters.fill(0);
  target.fuzz(bytes);
  return moduleCounters.flatMap((counters, module) =>
    [...counters.entries()].flatMap(([at, count]) => (count > 0 ? `${module} ${at}` : [])),
  );
}

const inputsIn = (directory) =>
  readdirSync(directory)
    .map((file) => readFileSync(`${directory}/${file}`))
    .sort((a, b) => a.length - b.length)
    .map((bytes) => ({ bytes, reached: reachedBy(bytes) }));

const corpus = new URL(`./corpus/${name}`, import.meta.url).pathname;
inputsIn(corpus); // what is reached the first time only
const known = new Set(inputsIn(corpus).flatMap(({ reached }) => reached));
let candidates = inputsIn(found);
while (readdirSync(corpus).length < MOST) {
  candidates = candidates
    .map(({ bytes, reached }) => ({ bytes, reached: reached.filter((place) => !known.has(place)) }))
    .filter(({ reached }) => reached.length > 0)
    .sort((a, b) => b.reached.length - a.reached.length);
  const [best] = candidates;
  if (best === undefined) break;
  for (const place of best.reached) known.add(place);
  writeFileSync(`${corpus}/${createHash('sha1').update(best.bytes).digest('hex').slice(0, 12)}`, best.bytes);
}

/** All is done by now. */
export function fuzz() {}
