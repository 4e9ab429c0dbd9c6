/**
 * Carries out a plan: tree after tree, then the experiments without a tree, then writing. A failure is reported, and
 * the rest continues.
 */
import { reasonOf } from '../src/base/error.ts';
import type { Collected } from './collected.ts';
import type { Bench, Experiment, Tree, TreeKind } from './contract.ts';
import { makeCheckout, makeLargeTree, makeSmallTree } from './generated-trees.ts';
import { measureTree, OUT_OF_TIME } from './measure.ts';
import { measureWriting } from './measure-writing.ts';
import type { Options, Plan } from './options.ts';
import { removeTree, surveyTree } from './trees.ts';
import { checkoutUnavailable } from './workloads-programs.ts';

interface TreeToMake {
  readonly kind: TreeKind;
  readonly name: string;
  /** The reason why it cannot be made here. */
  readonly unavailable?: string | undefined;
  make(bench: Bench): Promise<Tree>;
}

/** @param source its real path; undefined if only generated trees are read */
function treesToMake(source: string | undefined, options: Options, { workloads, experiments }: Plan): TreeToMake[] {
  const { smallFiles, checkoutFiles, largeSize } = options;
  const given: TreeToMake[] =
    source === undefined
      ? []
      : [{ kind: 'source', name: 'source', make: (bench) => surveyTree('source', 'source', source, bench) }];
  const all: TreeToMake[] = [
    ...given,
    ...smallFiles.map((count): TreeToMake => {
      return { kind: 'small', name: `small-${count}`, make: (bench) => makeSmallTree(count, bench) };
    }),
    {
      kind: 'checkout',
      name: 'checkout',
      unavailable: checkoutUnavailable(),
      make: (bench) => makeCheckout(checkoutFiles, bench),
    },
    { kind: 'large', name: 'large', make: (bench) => makeLargeTree(largeSize, bench) },
  ];
  const wanted = new Set([...workloads, ...experiments].flatMap(({ trees }) => trees));
  return all.filter(({ kind }) => wanted.has(kind));
}

/** Measures everything in `plan`. @throws only the reason of the bench's signal, and bugs */
export async function runPlan(
  source: string | undefined,
  options: Options,
  plan: Plan,
  bench: Bench,
  collected: Collected,
): Promise<void> {
  for (const { kind, name, unavailable, make } of treesToMake(source, options, plan)) {
    const what = `everything on the ${name} tree`;
    if (unavailable !== undefined || bench.outOfTime()) {
      bench.omit({ what, why: unavailable ?? OUT_OF_TIME, failed: false });
      continue;
    }
    let tree: Tree | undefined;
    await attempt(what, bench, async () => {
      tree = await make(bench);
      collected.addTree(tree);
      await measureTree(tree, plan.systems, plan.workloads, bench, (results) => collected.add({ results }));
    });
    if (tree === undefined) continue;
    for (const experiment of plan.experiments.filter(({ trees }) => trees.includes(kind))) {
      await runExperiment(experiment, plan, tree, bench, collected);
    }
    const made = tree;
    await attempt(`removing the ${name} tree`, bench, () => removeTree(made, bench));
  }
  for (const experiment of plan.experiments.filter(({ trees }) => trees.length === 0)) {
    await runExperiment(experiment, plan, undefined, bench, collected);
  }
  if (plan.lines.length === 0) return;
  await attempt('writing', bench, async () => {
    await measureWriting(plan.writers, plan.lines, plan.places, bench, (results) => collected.add({ results }));
  });
}

async function runExperiment(
  experiment: Experiment,
  plan: Plan,
  tree: Tree | undefined,
  bench: Bench,
  collected: Collected,
): Promise<void> {
  const what = tree === undefined ? experiment.title : `${experiment.title}, ${tree.name} tree`;
  const rows = plan.systems.filter(({ name }) => experiment.systems.includes(name));
  const why =
    rows.length === 0
      ? `it measures ${experiment.systems.join(', ')}, which --systems leaves out`
      : (experiment.available() ?? (bench.outOfTime() ? OUT_OF_TIME : undefined));
  if (why !== undefined) {
    bench.omit({ what, why, failed: false });
    return;
  }
  await attempt(what, bench, async () => collected.add(await experiment.run(bench, rows, tree)));
}

/** Does `act`; if it fails, the report shows that. */
async function attempt(what: string, bench: Bench, act: () => void | Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    bench.signal.throwIfAborted();
    bench.omit({ what, why: reasonOf(error), failed: true });
  }
}
