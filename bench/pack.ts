/**
 * Measures the time of packing a tree, and the space of the result: into an empty directory, and again with the result
 * of the first time.
 */
import { reasonOf } from '../src/base/error.ts';
import { sync } from './caches.ts';
import type { Bench, Experiment, Outcome, Result, Tree } from './contract.ts';
import { formatBytes } from './figures.ts';
import { PACKERS, type Packer } from './packers.ts';
import { missingTools, run } from './process.ts';
import { affordableRounds, withDeadline } from './time-limit.ts';

const DIRECTORY = 'pack';
const STATES = ['first', 'again'] as const;
type State = (typeof STATES)[number];

/** Nanoseconds, and bytes that the file system allocated for the result. */
interface Packed {
  readonly ns: number;
  readonly bytes: number;
}

type PackedTwice = Readonly<Record<State, Packed>>;

interface Taken {
  readonly samples: PackedTwice[];
  rounds: number;
  limited?: string;
}

export const PACK: Experiment = {
  name: 'pack',
  title: 'packing',
  systems: ['cfs'],
  trees: ['source', 'small'],
  available: () => missingTools('cfs-mkimage'),
  run: (bench, _systems, tree) => (tree === undefined ? Promise.resolve({ results: [] }) : packTree(tree, bench)),
};

/** The packers take turns; the first turn is discarded, and leaves the tree in the page cache. */
async function packTree(tree: Tree, bench: Bench): Promise<Outcome> {
  const taken = new Map(
    availablePackers(bench).map((one): [Packer, Taken] => [one, { samples: [], rounds: bench.rounds }]),
  );
  for (let round = 0; round <= bench.rounds; round++) {
    for (const [packer, own] of [...taken]) {
      if (round > own.rounds) continue;
      try {
        const what = `packing the ${tree.name} tree: ${packer.name}`;
        bench.progress(`${what}, ${round === 0 ? 'warm-up' : `round ${round} of ${own.rounds}`}`);
        const packed = await withDeadline(bench, (limited) => packTwice(packer, tree, limited));
        if (round === 0) {
          const { rounds, limited } = affordableRounds(packed.first.ns + packed.again.ns, bench);
          own.rounds = rounds;
          if (limited !== undefined) own.limited = limited;
        }
        if (round > 0 || own.rounds === 0) own.samples.push(packed);
      } catch (error) {
        bench.signal.throwIfAborted();
        taken.delete(packer);
        bench.omit({ what: `packing the ${tree.name} tree with ${packer.name}`, why: reasonOf(error), failed: true });
      }
    }
  }
  return outcome(tree, taken);
}

function availablePackers(bench: Bench): Packer[] {
  return PACKERS.filter((packer) => {
    const why = packer.unavailable();
    if (why !== undefined) bench.omit({ what: `packing with ${packer.name}`, why, failed: false });
    return why === undefined;
  });
}

async function packTwice(packer: Packer, tree: Tree, bench: Bench): Promise<PackedTwice> {
  bench.scratch.remove(DIRECTORY);
  const directory = bench.scratch.directory(DIRECTORY);
  const once = async (): Promise<Packed> => {
    await sync(bench.signal); // dirty data of the previous sample is not part of this one
    const { ns } = await run(packer.command(tree, directory), bench.signal);
    const { stdout } = await run(['du', '--summarize', '--block-size=1', directory], bench.signal, 'collect');
    return { ns, bytes: parseInt(stdout.toString(), 10) };
  };
  const packed = { first: await once(), again: await once() };
  bench.scratch.remove(DIRECTORY);
  return packed;
}

function outcome(tree: Tree, taken: ReadonlyMap<Packer, Taken>): Outcome {
  const figures: Record<string, number> = {};
  const notes: string[] = [];
  for (const [{ name }, { samples }] of taken) {
    const last = samples.at(-1);
    if (last === undefined) continue;
    for (const state of STATES) figures[`pack_${tree.name}_${name}_${state}_bytes`] = last[state].bytes;
    notes.push(
      `${name} makes ${formatBytes(last.first.bytes)} of the ${formatBytes(tree.bytes)} of ${tree.name}, on the disk; ${formatBytes(last.again.bytes)} after the second time.`,
    );
  }
  const results = STATES.flatMap((state) =>
    [...taken].map(
      ([{ name }, { samples, limited }]): Result => ({
        workload: PACK.name,
        title: PACK.title,
        tree: tree.name,
        state,
        system: name,
        work: { count: tree.files, unit: 'files', bytes: tree.bytes },
        rates: ['count', 'bytes'],
        samples: samples.map((packed) => packed[state].ns),
        ...(limited === undefined ? {} : { limited }),
      }),
    ),
  );
  return { results, figures, notes };
}
