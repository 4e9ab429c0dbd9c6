/** `cfs-repo report`: a page about a repository. */
import { statSync, writeFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { CfsError, reasonOf } from '../../src/base/error.ts';
import { version } from '../../src/base/installation.ts';
import { type RepositoryReport, reportOn } from '../../src/report/repository-report.ts';
import { replaceFile } from '../../src/system/durable-file.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { Output } from '../info/output.ts';
import { ProgressLine, progressBar } from '../progress.ts';
import { withSignals } from '../signals.ts';
import { type Health, healthOf } from './report/health.ts';
import { renderPage } from './report/page.ts';
import { type Commands, repositoryAt, warn } from './repository.ts';

interface Options {
  readonly output?: string;
  readonly fsck: boolean;
  readonly json: boolean;
}

const STDOUT = 1;

export function addReport({ program, setStatus }: Commands): void {
  program
    .command('report')
    .description('write a page about a repository: space, what images share, their differences, health')
    .argument('<DIR>')
    .option('-o, --output <FILE>', 'where the page is written; default: standard output')
    .option('--fsck', 'also read and check all objects; change nothing', false)
    .option('--json', 'print the data of the page as one JSON object', false)
    .addHelpText('after', HELP)
    .action(async (dir: string, options: Options) => setStatus(await report(dir, options)));
}

const HELP = `
The page is one HTML file that loads nothing. It shows the 40 images that were registered last, the largest directories
and files of each, and the largest changes between any two of up to 20 images; of more, between those that were
registered one after another.`;

async function report(dir: string, { output, fsck, json }: Options): Promise<ExitStatus> {
  const repository = repositoryAt(dir);
  if (output === '') throw new CfsError('usage', '--output is empty');
  if (!json && output === undefined && isatty(STDOUT)) {
    throw new CfsError('usage', 'Refusing to write a page to a terminal: give --output FILE, or redirect it');
  }
  const line = new ProgressLine(!json);
  const [data, health] = await withSignals('no page was written', async (signal) => {
    try {
      const found = await reportOn(repository, {
        signal,
        onProgress: (done) => line.draw((elapsed) => progressBar(done, '', elapsed)),
      });
      const files = found.images.map(({ file }) => file);
      return [found, await healthOf(repository, files, fsck, signal)] as const;
    } finally {
      line.end();
    }
  });
  if (json) printJson(jsonOf(data, health));
  else write(renderPage(data, health, version()), output);
  for (const { problem } of data.usage.problems) warn(problem);
  return data.usage.problems.length > 0 ? EXIT.found : EXIT.ok;
}

function write(page: string, output: string | undefined): void {
  if (output === undefined) {
    const out = new Output();
    out.text(page);
    out.flush();
    return;
  }
  try {
    // a device or a pipe is not replaced
    const there = statSync(output, { throwIfNoEntry: false });
    if (there === undefined || there.isFile()) replaceFile(output, Buffer.from(page), false);
    else writeFileSync(output, page);
  } catch (error) {
    throw new CfsError('system', `Cannot write ${output}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Null if no run is recorded. */
function runJson(run: (Readonly<Record<string, number>> & { readonly time: number; readonly ms: number }) | undefined) {
  if (run === undefined) return null;
  const { time, ms, ...counts } = run;
  return { time: new Date(time).toISOString(), seconds: ms / 1000, ...counts };
}

function jsonOf(
  { path, uuid, hash, time, usage, images, comparisons, unread }: RepositoryReport,
  health: Health,
): object {
  return {
    path,
    uuid,
    hash,
    time: new Date(time).toISOString(),
    usage: {
      ...usage,
      images: usage.images.map(({ image, paths, isMounted, ...amounts }) => ({
        id: image,
        ...amounts,
        mounted: isMounted,
      })),
    },
    images: images.map(({ file, ...image }) => image),
    unread: Object.fromEntries(unread),
    comparisons,
    health: { ...health, lastFsck: runJson(health.lastFsck), lastGc: runJson(health.lastGc) },
  };
}
