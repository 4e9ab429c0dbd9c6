#!/usr/bin/env node
/** cfs-bench: measures reading, packing and mounting against other file systems. docs/benchmark.md says how. */
import { accessSync, constants, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CfsError, reasonOf } from '../src/error.ts';
import type { Bench, Experiment, Omission, Result, SystemRow, Tree, Workload } from './bench/contract.ts';
import { EXPERIMENTS } from './bench/experiments.ts';
import { describeMachine } from './bench/machine.ts';
import { measureTree } from './bench/measure.ts';
import { renderDetails, renderMatrix, renderOmissions, renderSubject } from './bench/report.ts';
import { Scratch } from './bench/scratch.ts';
import { type Summary, summarize } from './bench/statistics.ts';
import { REFERENCES, SYSTEMS } from './bench/systems.ts';
import { checkSource, makeLargeTree, makeSmallTree, surveyTree } from './bench/trees.ts';
import { WORKLOADS } from './bench/workloads.ts';
import { EXIT, type ExitStatus, InterruptedError, integerOption, makeCommand, printJson, runTool } from './cli.ts';

const EXAMPLES = `  cfs-bench                                           everything, with /usr as the source
  cfs-bench --source /srv/rootfs --rounds 9 --details
  cfs-bench --workloads ls,find --systems source,overlayfs,cfs
  cfs-bench --workloads open --small-files 20000 --json
`;

interface Options {
  readonly source: string;
  readonly rounds: number;
  readonly workloads?: string;
  readonly systems?: string;
  readonly largeSize: number;
  readonly smallFiles: number;
  readonly scaleFiles: number;
  readonly scratch: string;
  readonly output: string;
  readonly details?: true;
  readonly json?: true;
}

function parseOptions(argv: readonly string[]): Options {
  const systems = SYSTEMS.map(({ name, description }) => `  ${name.padEnd(12)}${description}`).join('\n');
  const workloads = [...WORKLOADS, ...EXPERIMENTS].map(({ name, title }) => `  ${name.padEnd(12)}${title}`).join('\n');
  return makeCommand('cfs-bench', 'Measure reading, packing and mounting against other file systems.', EXAMPLES)
    .option('--source <dir>', 'the directory that every system shows', '/usr')
    .option('--rounds <n>', 'samples of each figure', integerOption('--rounds', 1, 1000), 5)
    .option('--workloads <list>', 'only these, separated by commas')
    .option('--systems <list>', 'only these, separated by commas')
    .option('--large-size <bytes>', 'size of the large file', integerOption('--large-size', 1 << 20, 1e12), 1 << 30)
    .option(
      '--small-files <n>',
      'also read a generated tree of this many small files',
      integerOption('--small-files', 0, 1e7),
      0,
    )
    .option('--scale-files <n>', 'files in the image of `scale`', integerOption('--scale-files', 1, 5e7), 1_000_000)
    .option('--scratch <dir>', 'where to make a directory to work in; it is removed at the end', '/var/tmp')
    .option('--output <file>', 'where the results go, as JSON', 'bench/results/latest.json')
    .option('--details', 'also show spread and rates of each figure')
    .option('--json', 'print the results as JSON instead of tables')
    .addHelpText('after', `\nSystems:\n${systems}\n\nWorkloads:\n${workloads}`)
    .allowExcessArguments(false)
    .parse(argv)
    .opts<Options>();
}

/** The rows that `list` names, in the order of the table; all of them without a list. */
function choose<T extends { readonly name: string }>(
  option: string,
  list: string | undefined,
  rows: readonly T[],
): T[] {
  if (list === undefined) return [...rows];
  const names = list.split(',').map((name) => name.trim());
  const known = rows.map(({ name }) => name);
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new CfsError('usage', `${option} has no "${unknown.join('", "')}"; there are ${known.join(', ')}`);
  }
  return rows.filter(({ name }) => names.includes(name));
}

/** A line on the terminal that is written over and over; nothing where stderr is no terminal. */
function progressLine(): (text: string) => void {
  if (!process.stderr.isTTY) return () => undefined;
  return (text) => {
    process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns || 100) - 1)}`);
  };
}

/** Aborted by SIGINT, SIGTERM and SIGHUP, with what ends the tool with the signal's status. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => controller.abort(new InterruptedError(name, `interrupted by ${name}`)));
  }
  return controller.signal;
}

interface Plan {
  readonly systems: readonly SystemRow[];
  readonly workloads: readonly Workload[];
  readonly experiments: readonly Experiment[];
}

interface Measured {
  readonly trees: readonly Tree[];
  readonly results: readonly Result[];
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

async function makeTrees(
  source: string,
  options: Options,
  { workloads, experiments }: Plan,
  bench: Bench,
): Promise<Tree[]> {
  const wanted = new Set([...workloads, ...experiments].flatMap(({ trees }) => trees));
  const trees: Tree[] = [];
  if (wanted.has('source')) trees.push(await surveyTree('source', source, bench));
  if (wanted.has('small') && options.smallFiles > 0) trees.push(await makeSmallTree(options.smallFiles, bench));
  if (wanted.has('large')) trees.push(await makeLargeTree(options.largeSize, bench));
  return trees;
}

async function measure(source: string, options: Options, plan: Plan, bench: Bench): Promise<Measured> {
  const trees = await makeTrees(source, options, plan, bench);
  const results: Result[] = [];
  const notes: string[] = [];
  let figures: Record<string, number> = {};
  for (const tree of trees) results.push(...(await measureTree(tree, plan.systems, plan.workloads, bench)));
  for (const experiment of plan.experiments) {
    const named = plan.systems.some(({ name }) => name === experiment.system);
    const why = named ? experiment.available() : `it measures ${experiment.system}, which --systems leaves out`;
    if (why !== undefined) {
      bench.omit({ what: experiment.title, why, failed: false });
      continue;
    }
    try {
      const outcome = await experiment.run(bench, trees);
      results.push(...outcome.results);
      notes.push(...(outcome.notes ?? []));
      figures = { ...figures, ...outcome.figures };
    } catch (error) {
      bench.signal.throwIfAborted();
      bench.omit({ what: experiment.title, why: reasonOf(error), failed: true });
    }
  }
  return { trees, results, figures, notes };
}

/** Each omission once: an unavailable system is met again with every tree. */
function omissionList(): { omissions: Omission[]; omit: (omission: Omission) => void } {
  const omissions: Omission[] = [];
  const omit = (omission: Omission): void => {
    if (!omissions.some(({ what, why }) => what === omission.what && why === omission.why)) omissions.push(omission);
  };
  return { omissions, omit };
}

function onceMap(): Bench['once'] {
  const made = new Map<string, Promise<string>>();
  return (key, make) => {
    const value = made.get(key) ?? make();
    made.set(key, value);
    return value;
  };
}

/** Makes the directory of the results file. @throws CfsError (usage) where the file cannot be written at the end of the run */
function checkOutput(file: string): void {
  try {
    mkdirSync(dirname(file), { recursive: true });
    accessSync(dirname(file), constants.W_OK);
    if (existsSync(file) && !statSync(file).isFile()) throw new Error('not a regular file');
  } catch (error) {
    throw new CfsError(
      'usage',
      `Cannot write the results to ${file}: ${reasonOf(error)}. Choose another with --output.`,
    );
  }
}

function printTables(
  measured: Measured,
  summaries: readonly Summary[],
  omissions: readonly Omission[],
  options: Options,
  subject: string,
): void {
  const inMatrix = (one: Summary): boolean => WORKLOADS.some(({ name }) => name === one.workload);
  const readings = summaries.filter(inMatrix);
  const reference = REFERENCES.find((name) => readings.some(({ system }) => system === name));
  const parts = [
    subject,
    renderMatrix(readings, reference),
    options.details === true ? renderDetails('Every figure', readings) : '',
    renderDetails(
      'Packing and mounting',
      summaries.filter((one) => !inMatrix(one)),
    ),
    measured.notes.join('\n'),
    renderOmissions(omissions),
    `Every sample is in ${options.output}.`,
  ];
  process.stdout.write(`${parts.filter((part) => part !== '').join('\n\n')}\n`);
}

function makePlan(options: Options): Plan {
  const names = choose('--workloads', options.workloads, [...WORKLOADS, ...EXPERIMENTS]).map(({ name }) => name);
  return {
    systems: choose('--systems', options.systems, SYSTEMS),
    workloads: WORKLOADS.filter(({ name }) => names.includes(name)),
    experiments: EXPERIMENTS.filter(({ name }) => names.includes(name)),
  };
}

async function main(argv: readonly string[]): Promise<ExitStatus> {
  const options = parseOptions(argv);
  const plan = makePlan(options);
  checkOutput(options.output);
  const signal = interruption();
  const progress = progressLine();
  const { omissions, omit } = omissionList();
  const started = new Date().toISOString();
  const scratch = new Scratch(options.scratch);
  const { rounds, scaleFiles } = options;
  const bench: Bench = { scratch, signal, rounds, scaleFiles, progress, omit, once: onceMap() };
  let measured: Measured;
  let machine: ReturnType<typeof describeMachine>;
  try {
    const source = checkSource(options.source, scratch);
    machine = describeMachine(source, scratch.path);
    measured = await measure(source, options, plan, bench);
  } finally {
    progress('cleaning up');
    for (const problem of await scratch.dispose()) process.stderr.write(`cfs-bench: ${problem}\n`);
    progress('');
  }
  signal.throwIfAborted();
  const summaries = summarize(measured.results, REFERENCES);
  const trees = measured.trees.map(({ name, path, entries, files, bytes }) => ({ name, path, entries, files, bytes }));
  const report = {
    format: 'cfs-bench',
    version: 1,
    started,
    finished: new Date().toISOString(),
    machine,
    rounds,
    trees,
    results: summaries,
    figures: measured.figures,
    notes: measured.notes,
    omissions,
  };
  writeFileSync(options.output, `${JSON.stringify(report, undefined, 2)}\n`);
  if (options.json === true) printJson(report);
  else printTables(measured, summaries, omissions, options, renderSubject(machine, measured.trees, rounds));
  return omissions.some(({ failed }) => failed) ? EXIT.system : EXIT.ok;
}

await runTool('cfs-bench', main);
