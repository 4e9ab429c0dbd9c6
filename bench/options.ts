/** The command line of cfs-bench, and what it means. */
import { existsSync } from 'node:fs';
import { CfsError } from '../src/base/error.ts';
import { integerOption, makeCommand } from '../tools/cli.ts';
import { type Experiment, PEERS, type Peer, type SystemRow, type Workload } from './contract.ts';
import { estimate, roughly } from './estimate.ts';
import { EXPERIMENTS } from './experiments.ts';
import { SYSTEMS } from './systems.ts';
import { WORKLOADS } from './workloads.ts';
import { WRITE_LINES } from './write-lines.ts';
import { WRITERS } from './writers.ts';
import { GROUP, PLACES, type PlaceKind, type WriteLine, type WriterRow } from './writing.ts';

const EXAMPLES = `  cfs-bench --quick                                   a first look, in a few minutes
  cfs-bench --source /srv/rootfs --minutes 60         everything that fits into an hour
  cfs-bench --source /srv/rootfs --rounds 9 --details
  cfs-bench --source /usr --workloads ls,find --systems source,overlayfs,cfs
  cfs-bench --workloads write --systems overlayfs,fuse-overlayfs,cfs
  cfs-bench --quick --workloads open --small-files 10000,100000 --systems all
`;

export interface Options {
  /** Undefined: only generated trees. */
  readonly source?: string;
  readonly quick?: true;
  readonly rounds: number;
  /** Seconds. */
  readonly timeLimit: number;
  readonly minutes?: number;
  readonly workloads?: string;
  readonly systems?: string;
  readonly largeSize: number;
  readonly smallFiles: readonly number[];
  readonly checkoutFiles: number;
  readonly sharedSize: number;
  readonly scaleFiles: number;
  readonly writeFiles: number;
  readonly writeTo?: string;
  /** Milliseconds. */
  readonly rtt: number;
  readonly peers?: string;
  readonly scratch: string;
  readonly output: string;
  readonly details?: true;
  readonly json?: true;
}

/** The settings of a run. */
export interface Plan {
  readonly systems: readonly SystemRow[];
  readonly workloads: readonly Workload[];
  readonly experiments: readonly Experiment[];
  readonly lines: readonly WriteLine[];
  readonly writers: readonly WriterRow[];
  readonly places: readonly PlaceKind[];
  readonly peers: readonly Peer[];
}

const MIB = 1 << 20;
/** Means all of WRITE_LINES. */
const WHOLE_GROUP = { name: GROUP, title: 'all lines of writing, which follow' };
const NAME_WIDTH = 18;
const DEFAULT_ROUNDS = 5;

/** @throws CfsError (usage), CommanderError */
export function parseOptions(argv: readonly string[]): Options {
  const systems = SYSTEMS.map(
    ({ name, description, byDefault }) =>
      `  ${name.padEnd(NAME_WIDTH)}${description}${byDefault ? '' : '; with "all"'}`,
  ).join('\n');
  const workloads = [...WORKLOADS, ...EXPERIMENTS, WHOLE_GROUP, ...WRITE_LINES]
    .map(({ name, title }) => `  ${name.padEnd(NAME_WIDTH)}${title}`)
    .join('\n');
  const number = (option: string, min: number, max: number): ((text: string) => number) =>
    integerOption(option, min, max);
  const command = makeCommand(
    'cfs-bench',
    'Measure reading, packing, mounting and writing against other file systems.',
    EXAMPLES,
  )
    .option('--source <dir>', 'the directory that every system shows')
    .option(
      '--quick',
      'a first look: a few workloads on a few systems and small generated files, unless other options are given',
    )
    .option('--systems <list>', 'these, separated by commas, or "all" (default: those below without "all")')
    .option('--workloads <list>', 'only these, separated by commas')
    .option('--rounds <n>', 'samples of each figure (default: 5, with --quick 2)', number('--rounds', 1, 1000))
    .option(
      '--time-limit <seconds>',
      'limit of one system in one cell; a slower one gets fewer rounds',
      number('--time-limit', 1, 86_400),
      60,
    )
    .option('--minutes <n>', 'after this time start nothing new; the rest is left out', number('--minutes', 1, 100_000))
    .option(
      '--small-files <list>',
      'also read generated trees of as many small files, e.g. 10000,100000',
      numberList('--small-files', 1, 1e7),
    )
    .option(
      '--checkout-files <n>',
      'files in the generated git checkout',
      number('--checkout-files', 1, 1_000_000),
      5_000,
    )
    .option('--large-size <bytes>', 'size of the large file', number('--large-size', MIB, 1e12), 1024 * MIB)
    .option(
      '--shared-size <bytes>',
      'size of each of the two directories of `shared`',
      number('--shared-size', MIB, 1e11),
      128 * MIB,
    )
    .option('--scale-files <n>', 'files in the image of `scale`', number('--scale-files', 1, 5e7), 1_000_000)
    .option(
      '--write-files <n>',
      'files in one sample of the lines of writing; other counts there follow it',
      number('--write-files', 20, 50_000),
      5_000,
    )
    .option('--write-to <list>', `kinds of file systems for changes (default: ${PLACES.join(',')})`)
    .option('--rtt <ms>', 'the round-trip time of `remote`, in milliseconds', number('--rtt', 0, 10_000), 20)
    .option('--peers <list>', `what \`remote\` compares with, or "none" (default: ${PEERS.join(',')})`)
    .option('--scratch <dir>', 'where to make the working directory, which is removed at the end', '/var/tmp')
    .option('--output <file>', 'results as JSON; the report goes beside it', defaultOutput())
    .option('--details', 'also show spread and rates of each figure')
    .option('--json', 'print the results as JSON instead of tables')
    .addHelpText('after', `\nSystems:\n${systems}\n\nWorkloads:\n${workloads}`)
    .allowExcessArguments(false);
  if (argv.length <= 2) command.outputHelp();
  return complete(command.parse(argv).opts<Given>());
}

type Given = Omit<Options, 'rounds' | 'smallFiles'> & Partial<Pick<Options, 'rounds' | 'smallFiles'>>;

/** The values of --quick for options that are not given. */
const QUICK = { rounds: 2, smallFiles: [1000], systems: 'source,overlayfs,cfs,cfs-read', workloads: 'ls,open,tar' };

/** @throws CfsError (usage) if nothing says what to measure: a full run takes hours */
function complete(given: Given): Options {
  const { source, quick } = given;
  if (quick === true) return { ...QUICK, ...(source === undefined ? {} : { smallFiles: [] }), ...given };
  const smallFiles = given.smallFiles ?? [];
  if (source === undefined && smallFiles.length === 0 && !onlyWrites(given.workloads)) {
    throw new CfsError(
      'usage',
      `--source DIR, --small-files N or --quick is missing. Everything takes about ${timeOf(14_000)} for a directory of 14,000 entries, and ${timeOf(140_000)} for one of 140,000. Try 'cfs-bench --help'.`,
    );
  }
  return { rounds: DEFAULT_ROUNDS, ...given, smallFiles };
}

/** Writing needs no tree that is given. */
const onlyWrites = (workloads = ''): boolean => workloads.split(',').every((name) => name.trim().startsWith(GROUP));

/** All workloads on all systems that are measured by default, as root. */
function timeOf(entries: number): string {
  const systems = chooseSystems(undefined).length;
  const states = ['cold', 'dropped', 'warm'] as const;
  const extent = { entries, workloads: WORKLOADS, states, systems, rounds: DEFAULT_ROUNDS, timeLimit: 60 };
  return roughly(estimate({ kind: 'source', ...extent }));
}

/** In a checkout with the other results, elsewhere in the current directory. */
const defaultOutput = (): string =>
  existsSync('bench/results') ? 'bench/results/latest.json' : 'cfs-bench-results.json';

/** A parser for commander: whole numbers, separated by commas, each once, in the order of size. */
export function numberList(option: string, min: number, max: number): (text: string) => readonly number[] {
  const parse = integerOption(option, min, max);
  return (text) => {
    if (text === '0') return []; // none of them
    const numbers = text.split(',').map((part) => parse(part.trim()));
    return [...new Set(numbers)].sort((a, b) => a - b);
  };
}

/** The rows that `list` names, in the order of the table; all of them without a list. @throws CfsError (usage) */
export function choose<T extends { readonly name: string }>(
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

function chooseSystems(list: string | undefined): SystemRow[] {
  if (list === undefined) return SYSTEMS.filter(({ byDefault }) => byDefault);
  return choose('--systems', list === 'all' ? undefined : list, SYSTEMS);
}

function choosePeers(list: string | undefined): Peer[] {
  const rows = PEERS.map((name) => ({ name }));
  return list === 'none' ? [] : choose('--peers', list, rows).map(({ name }) => name);
}

/** @throws CfsError (usage) for an unknown name */
export function makePlan(options: Pick<Options, 'systems' | 'workloads' | 'writeTo' | 'peers'>): Plan {
  const all = [...WORKLOADS, ...EXPERIMENTS, WHOLE_GROUP, ...WRITE_LINES];
  const names = choose('--workloads', options.workloads, all).map(({ name }) => name);
  const systems = chooseSystems(options.systems);
  return {
    systems,
    workloads: WORKLOADS.filter(({ name }) => names.includes(name)),
    experiments: EXPERIMENTS.filter(({ name }) => names.includes(name)),
    lines: WRITE_LINES.filter(({ name }) => names.includes(GROUP) || names.includes(name)),
    places: choose(
      '--write-to',
      options.writeTo,
      PLACES.map((name) => ({ name })),
    ).map(({ name }) => name),
    peers: choosePeers(options.peers),
    writers: WRITERS.filter(({ name }) => systems.some((system) => system.name === name)),
  };
}
