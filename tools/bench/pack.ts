/** How long packing a tree takes: into an empty store, and again where the store has everything already. */
import { reasonOf } from '../../src/error.ts';
import { sync } from './caches.ts';
import type { Bench, Experiment, Result, Tree } from './contract.ts';
import { missingTools, run, toolCommand } from './process.ts';

const DIRECTORY = 'pack';

/** A row of the table below: a program that makes an image of a tree. */
interface Packer {
  readonly name: string;
  /** The command that packs `tree` into an image and a store in `directory`, whatever is there already. */
  command(tree: Tree, directory: string): [string, ...string[]];
}

const mkimage = (name: string, ...options: readonly string[]): Packer => ({
  name,
  command: (tree, directory) =>
    toolCommand('cfs-mkimage', '--quiet', ...options, '--store', `${directory}/store`, tree.path, `${directory}/image`),
});

const PACKERS: readonly Packer[] = [mkimage('mkimage'), mkimage('mkimage --no-fsync', '--no-fsync')];

const STATES = ['first', 'again'] as const;
type State = (typeof STATES)[number];

export const PACK: Experiment = {
  name: 'pack',
  title: 'packing',
  systems: ['cfs'],
  trees: ['source', 'small'],
  available: () => missingTools('cfs-mkimage'),
  run: async (bench, _systems, tree) => ({ results: tree === undefined ? [] : await packTree(tree, bench) }),
};

/** The packers take turns; the first turn is thrown away, and leaves the tree in the page cache. */
async function packTree(tree: Tree, bench: Bench): Promise<Result[]> {
  const samples = new Map(PACKERS.map((packer) => [packer, { first: [] as number[], again: [] as number[] }]));
  for (let round = 0; round <= bench.rounds; round++) {
    for (const [packer, taken] of [...samples]) {
      try {
        const times = await packTwice(packer, tree, round, bench);
        if (round > 0) for (const state of STATES) taken[state].push(times[state]);
      } catch (error) {
        bench.signal.throwIfAborted();
        samples.delete(packer);
        bench.omit({ what: `packing the ${tree.name} tree with ${packer.name}`, why: reasonOf(error), failed: true });
      }
    }
  }
  return STATES.flatMap((state) =>
    [...samples].map(
      ([packer, taken]): Result => ({
        workload: PACK.name,
        title: PACK.title,
        tree: tree.name,
        state,
        system: packer.name,
        work: { count: tree.files, unit: 'files', bytes: tree.bytes },
        rates: ['count', 'bytes'],
        samples: taken[state],
      }),
    ),
  );
}

async function packTwice(packer: Packer, tree: Tree, round: number, bench: Bench): Promise<Record<State, number>> {
  bench.scratch.remove(DIRECTORY);
  const directory = bench.scratch.directory(DIRECTORY);
  const times: Record<State, number> = { first: 0, again: 0 };
  for (const state of STATES) {
    const turn = round === 0 ? 'warm-up' : `round ${round} of ${bench.rounds}`;
    bench.progress(`packing the ${tree.name} tree with ${packer.name}, ${state} time, ${turn}`);
    await sync(bench.signal); // what the sample before it left dirty is not its work
    times[state] = (await run(packer.command(tree, directory), bench.signal)).ns;
  }
  bench.scratch.remove(DIRECTORY);
  return times;
}
