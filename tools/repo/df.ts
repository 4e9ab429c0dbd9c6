/** `cfs-repo df`: where the space of a repository goes. */
import { statSync } from 'node:fs';
import { type FoundPath, ImageFinder } from '../../src/image/registered-image.ts';
import { type Amount, difference, sumOf } from '../../src/store/gc/amount.ts';
import { type ImageUsage, type RepositoryUsage, repositoryUsage } from '../../src/store/gc/usage.ts';
import { PREFIXES } from '../../src/store/layout.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { type ColorWhen, colorOption, type Paint, painter } from '../color.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import { idForTable, noTruncOption } from '../image-id.ts';
import { ProgressLine, progressBar } from '../progress.ts';
import { withSignals } from '../signals.ts';
import { formatTable } from '../table.ts';
import { usageBar } from '../usage-bar.ts';
import { foundPaths, registeredPathText } from './registered-path.ts';
import { type Commands, repositoryAt, warn } from './repository.ts';

interface Options {
  readonly color: ColorWhen;
  readonly trunc: boolean;
  readonly json: boolean;
}

const HOUR_MS = 3_600_000;

export function addDf({ program, setStatus }: Commands): void {
  program
    .command('df')
    .description(
      'show the space of each registered image: total, unique, shared, and the bytes that gc would free without it',
    )
    .argument('<DIR>')
    .addOption(noTruncOption())
    .addOption(colorOption())
    .option('--json', 'print the result as one JSON object', false)
    .addHelpText('after', HELP)
    .action(async (dir: string, options: Options) => setStatus(await df(dir, options)));
}

const HELP = `
  unique    objects of the image that no other registered image needs
  shared    the others: total = unique + shared
  gc frees  of unique, what 'gc --min-age 0' would delete if the image was unregistered: nothing that a mount needs
Sizes are those of contents; the lines below the table, and --json, also have the sizes on disk. Contents that an image
holds itself are in its file, not in the repository.`;

/** A registered image, with its paths as they are now. */
interface Row extends ImageUsage {
  readonly found: readonly FoundPath[];
  /** Undefined if its file is at none of its paths. */
  readonly fileBytes: number | undefined;
}

async function df(dir: string, { color, trunc, json }: Options): Promise<ExitStatus> {
  const repository = repositoryAt(dir);
  const line = new ProgressLine(!json);
  const usage = await withSignals('nothing was changed', async (signal) => {
    try {
      return await repositoryUsage(repository, {
        minAgeMs: HOUR_MS,
        signal,
        onProgress: (directories) => line.draw((elapsed) => progressBar(directories / PREFIXES, '', elapsed)),
      });
    } finally {
      line.end();
    }
  });
  const finder = new ImageFinder();
  const rows = usage.images.map((image) => rowOf(image, finder));
  rows.sort((a, b) => b.unique.bytes - a.unique.bytes || b.total.bytes - a.total.bytes);
  if (json) printJson(jsonOf(repository, usage, rows));
  else process.stdout.write(textOf(usage, rows, trunc, painter(color)));
  for (const { problem } of usage.problems) warn(problem);
  return usage.problems.length > 0 ? EXIT.found : EXIT.ok;
}

function rowOf(image: ImageUsage, finder: ImageFinder): Row {
  const found = foundPaths(finder, image.image, image.paths);
  const there = found.find(({ state }) => state === 'there');
  const fileBytes = there && statSync(there.path, { throwIfNoEntry: false })?.size;
  return { ...image, found, fileBytes };
}

function jsonOf(repository: LocalRepository, usage: RepositoryUsage, rows: readonly Row[]): object {
  const { path, uuid, hash } = repository;
  const { together, leased, unused, problems } = usage;
  const sum = sumOf(rows.map(({ total }) => total));
  const images = rows.map(({ image, total, unique, freed, missing, isMounted, fileBytes, found }) => ({
    id: image,
    total,
    unique,
    shared: difference(total, unique),
    freed,
    missing,
    mounted: isMounted,
    fileBytes,
    paths: found,
  }));
  return { path, uuid, hash, images, sum, together, leased, unused, problems };
}

function textOf(usage: RepositoryUsage, rows: readonly Row[], trunc: boolean, paint: Paint): string {
  const { together, leased, unused } = usage;
  const sum = sumOf(rows.map(({ total }) => total)).bytes;
  const instead = together.bytes < sum ? ` instead of ${formatBytes(sum)}: ${(sum / together.bytes).toFixed(1)} x` : '';
  const amount = ({ objects, bytes, diskBytes }: Amount): string =>
    `${formatCounted(objects, 'object')}, ${formatBytes(bytes)} (${formatBytes(diskBytes)} on disk)`;
  const lines = [
    ...(rows.length > 0 ? [...tableOf(rows, trunc, paint), ''] : []),
    `together    ${amount(together)}${instead}`,
    ...(leased.objects > 0 ? [`leased      ${amount(leased)}: only mounts or recently packed images need them`] : []),
    `unused      ${amount(unused)}${unused.objects > 0 ? ": no image needs them; 'cfs-repo gc' deletes them" : ''}`,
  ];
  return `${lines.join('\n')}\n`;
}

function tableOf(rows: readonly Row[], trunc: boolean, paint: Paint): string[] {
  const largest = Math.max(...rows.map(({ total }) => total.bytes));
  const heads = ['image', 'objects', 'total', 'unique', 'shared', 'gc frees'];
  const cells = rows.map(({ image, total, unique, freed, missing, isMounted }) => [
    idForTable(image, trunc),
    `${formatCount(total.objects)}${missing > 0 ? ` (${formatCount(missing)} missing)` : ''}`,
    formatBytes(total.bytes),
    formatBytes(unique.bytes),
    formatBytes(total.bytes - unique.bytes),
    isMounted ? 'mounted' : formatBytes(freed.bytes),
  ]);
  const [head = '', ...lines] = formatTable(heads, cells, true);
  const paths = rows.map(({ found }) => found.map(registeredPathText));
  const bar = usageBar(head.length, Math.max(...paths.flat().map((path) => path.length), 4), paint);
  return [
    `${head}  ${bar?.head ?? ''}path`,
    ...lines.flatMap((line, i) => {
      const { total, unique } = rows[i] as Row;
      const drawn = bar?.draw(unique.bytes, total.bytes, largest) ?? '';
      const [first = '', ...more] = paths[i] as string[];
      const indent = ' '.repeat(line.length + 2 + (bar?.head.length ?? 0));
      return [`${line}  ${drawn}${first}`.trimEnd(), ...more.map((path) => indent + path)];
    }),
  ];
}
