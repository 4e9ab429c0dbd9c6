// For scripts/fuzz, in place of a target: of the inputs that a run of $CFS_FUZZ_TARGET has found, in $CFS_FUZZ_FOUND,
// it copies a few into the corpus: those that reach the most code that the corpus does not reach. libFuzzer's own merge
// would have to start its program again, which it cannot do here.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fuzzer } from '@jazzer.js/fuzzer';

/** The largest number of files in a corpus: every run reads each of them. */
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
inputsIn(corpus); // for code that is reached only the first time
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

/** The work is already done. */
export function fuzz() {}
