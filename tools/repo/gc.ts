/** `cfs-repo gc`. */
import { CfsError } from '../../src/base/error.ts';
import { type Amount, collectGarbage, type GcResult } from '../../src/store/gc.ts';
import { KeptInMemory } from '../../src/store/keepers.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCounted } from '../format.ts';
import { ProgressLine, progressBar } from '../progress.ts';
import { readKeptImage } from './kept-image.ts';
import { type Commands, collect, repositoryAt, warn } from './repository.ts';

interface Options {
  readonly keep: readonly string[];
  readonly keepNone: boolean;
  readonly minAge: number;
  readonly dryRun: boolean;
  readonly emptyQuarantine: boolean;
  readonly json: boolean;
}

const PREFIXES = 256;
const HOUR_MS = 3_600_000;
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: HOUR_MS, d: 24 * HOUR_MS };

export function addGc({ program, setStatus }: Commands): void {
  program
    .command('gc')
    .description('delete objects that no registered, mounted or kept image needs')
    .argument('<DIR>')
    .option('--keep <IMAGE>', 'an image whose objects are kept, registered or not; repeatable', collect, [])
    .option('--keep-none', 'go on where no image is registered, mounted or kept: all objects are deleted', false)
    .option(
      '--min-age <TIME>',
      'keep objects that have come since: 30s, 10m, 1h, 7d; 0 keeps none of them (default: 1h)',
      parseTime,
      HOUR_MS,
    )
    .option('-n, --dry-run', 'delete nothing, and say what would be deleted', false)
    .option('--empty-quarantine', 'delete the damaged files that fsck moved to quarantine, too', false)
    .option('--json', 'print the result as one JSON object', false)
    .configureHelp({ optionDescription: ({ description }) => description })
    .action(async (dir: string, options: Options) => setStatus(await gc(dir, options)));
}

function parseTime(text: string): number {
  const [, number, unit] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
  if (number === undefined || (unit === '' && Number(number) !== 0)) {
    throw new CfsError('usage', `--min-age takes a time such as 30s, 10m, 1h or 7d, or 0, not "${text}"`);
  }
  return Number(number) * (UNITS[unit ?? ''] ?? 0);
}

async function gc(dir: string, options: Options): Promise<ExitStatus> {
  const { dryRun, keepNone, emptyQuarantine, json, minAge } = options;
  const repository = repositoryAt(dir);
  const keep = options.keep.map((image) => new KeptInMemory(readKeptImage(repository, image).digests));
  const line = new ProgressLine(!json);
  let result: GcResult;
  try {
    result = await collectGarbage(repository, {
      keep,
      minAgeMs: minAge,
      dryRun,
      keepNone,
      emptyQuarantine,
      onWait: warn,
      onProgress: (directories) => line.draw((elapsed) => progressBar(directories / PREFIXES, '', elapsed)),
    });
  } finally {
    line.end();
  }
  const { path, uuid } = repository;
  if (json) printJson({ path, uuid, dryRun, ...result });
  else process.stdout.write(textOf(result, options));
  return EXIT.ok;
}

function textOf(result: GcResult, { keep, dryRun }: Options): string {
  const { freed, kept, young, registered, mounted, packed, leftovers, dead, quarantined } = result;
  const amount = ({ objects, bytes, diskBytes }: Amount): string =>
    `${formatCounted(objects, 'object')} (${formatBytes(bytes)}, ${formatBytes(diskBytes)} on disk)`;
  const images = [
    `${registered} registered`,
    `${mounted} mounted`,
    ...(packed > 0 ? [`${packed} just packed`] : []),
    ...(keep.length > 0 ? [`${keep.length} by --keep`] : []),
  ];
  const lines = [
    `images      ${images.join(', ')}`,
    `kept        ${amount(kept)}`,
    ...(young.objects > 0 ? [`of these    ${amount(young)} only because they are new (--min-age)`] : []),
    `${dryRun ? 'would free' : 'freed     '}  ${amount(freed)}`,
  ];
  const also = [
    ...counted(leftovers, 'unfinished file'),
    ...counted(dead, 'unused lease'),
    ...counted(quarantined, 'file in quarantine', 'files in quarantine'),
  ];
  if (also.length > 0) lines.push(`also        ${also.join(', ')}`);
  return `${lines.join('\n')}\n`;
}

const counted = (n: number, one: string, many?: string): string[] => (n === 0 ? [] : [formatCounted(n, one, many)]);
