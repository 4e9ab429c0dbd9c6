#!/usr/bin/env node
/** cfs-bench: measures reading, packing, mounting and writing against other file systems. See docs/benchmark.md. */
import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CfsError, reasonOf } from '../src/base/error.ts';
import { hasEscapes } from '../src/base/path-text.ts';
import { EXIT, type ExitStatus, InterruptedError, printJson, runTool } from '../tools/cli.ts';
import { Collected, type Results } from './collected.ts';
import type { Bench, Omission } from './contract.ts';
import { describeMachine } from './machine.ts';
import { makePlan, type Options, type Plan, parseOptions } from './options.ts';
import { Progress } from './progress.ts';
import { renderTables } from './report.ts';
import { reportDirectory, writeReport } from './report-files.ts';
import { runPlan } from './run-plan.ts';
import { Scratch } from './scratch.ts';
import type { Groups } from './statistics.ts';
import { checkSource, findSource } from './trees.ts';
import { WORKLOADS } from './workloads.ts';
import { largeFileReader } from './workloads-content.ts';
import { WRITE_LINES } from './write-lines.ts';

/** The workloads that read a tree, and those that write: both are compared in matrices and charts. */
const GROUPS: Groups = {
  readings: WORKLOADS.map(({ name }) => name),
  writings: WRITE_LINES.map(({ name }) => name),
};

/** Aborted by SIGINT, SIGTERM and SIGHUP, with an error that ends the tool with the signal's status. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => controller.abort(new InterruptedError(name, `interrupted by ${name}`)));
  }
  return controller.signal;
}

/** Each omission once: an unavailable system is encountered again with every tree. */
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

/**
 * Makes the directory of the results file. @throws CfsError (usage) if the file cannot be written at the end of the run
 */
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

/** The command line that measures the same again, for a shell. */
function commandLine(argv: readonly string[]): string {
  const quote = (word: string): string => (/^[\w./,:=@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  return ['node', 'dist/tools/cfs-bench.js', ...argv.slice(2).map(quote)].join(' ');
}

function makeBench(options: Options, plan: Plan, scratch: Scratch, progress: Progress, omit: Bench['omit']): Bench {
  const end = options.minutes === undefined ? Number.POSITIVE_INFINITY : Date.now() + options.minutes * 60_000;
  return {
    scratch,
    signal: interruption(),
    rounds: options.rounds,
    timeLimit: options.timeLimit * 1e9,
    scaleFiles: options.scaleFiles,
    sharedSize: options.sharedSize,
    writeFiles: options.writeFiles,
    largeSize: options.largeSize,
    rtt: options.rtt,
    peers: plan.peers,
    outOfTime: () => Date.now() > end,
    progress: (text) => progress.show(text),
    say: (text) => progress.say(text),
    omit,
    once: onceMap(),
  };
}

/** Measures, cleans up, and writes the results in any case. @throws the error that ended the run too early */
async function measure(
  argv: readonly string[],
  options: Options,
  plan: Plan,
  source: string | undefined,
): Promise<Results> {
  const progress = new Progress(
    (text) => void process.stderr.write(text),
    process.stderr.isTTY ? process.stderr.columns || 100 : undefined,
  );
  const { omissions, omit } = omissionList();
  const started = new Date().toISOString();
  const scratch = new Scratch(options.scratch);
  const bench = makeBench(options, plan, scratch, progress, omit);
  let collected: Collected | undefined;
  try {
    if (source !== undefined) checkSource(source, scratch);
    const heading = {
      command: commandLine(argv),
      started,
      machine: describeMachine(source ?? scratch.path, scratch.path),
      rounds: options.rounds,
      time_limit_seconds: options.timeLimit,
      large_file_reader: largeFileReader(),
      systems: Object.fromEntries(plan.systems.map(({ name, description }) => [name, description])),
    };
    collected = new Collected(heading, options.output, omissions);
    await runPlan(source, options, plan, bench, collected);
  } catch (error) {
    if (collected !== undefined) {
      writeReport(collected.save(false, reasonOf(error)), options.output, GROUPS);
      process.stderr.write(`cfs-bench: the results so far are in ${options.output}\n`);
    }
    throw error;
  } finally {
    if (collected !== undefined) progress.show('cleaning up');
    for (const problem of await scratch.dispose()) process.stderr.write(`cfs-bench: ${problem}\n`);
    progress.end();
  }
  const results = collected.save(true);
  writeReport(results, options.output, GROUPS);
  return results;
}

async function main(argv: readonly string[]): Promise<ExitStatus> {
  if (argv.some(hasEscapes)) {
    throw new CfsError(
      'usage',
      'paths that are not UTF-8 cannot be measured: they are passed to other programs as text',
    );
  }
  const options = parseOptions(argv);
  const plan = makePlan(options);
  const source = options.source === undefined ? undefined : findSource(options.source);
  checkOutput(options.output);
  const results = await measure(argv, options, plan, source);
  if (options.json === true) printJson(results);
  else {
    process.stdout.write(`${renderTables(results, GROUPS, options.details === true)}\n\n`);
    const report = join(reportDirectory(options.output), 'report.md');
    process.stdout.write(`Every sample is in ${options.output}, charts are in ${report}.\n`);
  }
  if (results.results.length === 0 && Object.keys(results.figures).length === 0) {
    process.stderr.write('cfs-bench: nothing was measured; "Not compared" says why\n');
    return EXIT.system;
  }
  return results.omissions.some(({ failed }) => failed) ? EXIT.system : EXIT.ok;
}

await runTool('cfs-bench', main);
