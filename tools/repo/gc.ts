/** `cfs-repo gc`. */

import { existsSync } from 'node:fs';
import { CfsError } from '../../src/base/error.ts';
import { readKeptImage } from '../../src/image/image-needs.ts';
import { ImageFinder, isGone } from '../../src/image/registered-image.ts';
import { type Amount, collectGarbage, type GcResult } from '../../src/store/gc/gc.ts';
import { type Keeper, KeptInMemory } from '../../src/store/gc/live-set.ts';
import type { RegisteredPath } from '../../src/store/gc/registered-paths.ts';
import { recordedPaths } from '../../src/store/gc/roots.ts';
import { PREFIXES } from '../../src/store/layout.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import { idForTable, noTruncOption } from '../image-id.ts';
import { ProgressLine, progressBar } from '../progress.ts';
import { printResult } from '../quiet.ts';
import { formatTable } from '../table.ts';
import { shown } from './registered-path.ts';
import { type Commands, collect, repositoryAt, warn } from './repository.ts';

interface Options {
  readonly keep: readonly string[];
  readonly keepNone: boolean;
  readonly minAge: number;
  readonly dryRun: boolean;
  readonly emptyQuarantine: boolean;
  readonly verbose: boolean;
  readonly trunc: boolean;
  readonly json: boolean;
}

const HOUR_MS = 3_600_000;
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: HOUR_MS, d: 24 * HOUR_MS };

export function addGc({ program, setStatus }: Commands): void {
  program
    .command('gc')
    .description('delete objects that no registered, mounted or kept image needs')
    .argument('<DIR>')
    .option('--keep <IMAGE>', 'an image whose objects are kept, registered or not; repeatable', collect, [])
    .option('--keep-none', 'proceed even if no image is registered, mounted or kept: all objects are deleted', false)
    .option(
      '--min-age <TIME>',
      'keep objects added within this time: 30s, 10m, 1h, 7d; 0 for none (default: 1h)',
      parseTime,
      HOUR_MS,
    )
    .option('-n, --dry-run', 'delete nothing, only report the objects that would be deleted', false)
    .option('--empty-quarantine', 'delete the damaged files that fsck moved to quarantine, too', false)
    .option('-v, --verbose', 'list the deleted objects, and the images that keep the rest', false)
    .addOption(noTruncOption())
    .option('--json', 'print the result as one JSON object', false)
    .configureHelp({ optionDescription: ({ description }) => description })
    .action(async (dir: string, options: Options) => setStatus(await gc(dir, options)));
}

export function parseTime(text: string): number {
  const [, number, unit] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
  if (number === undefined || (unit === '' && Number(number) !== 0)) {
    throw new CfsError('usage', `--min-age takes a time such as 30s, 10m, 1h or 7d, or 0, not "${text}"`);
  }
  return Number(number) * (UNITS[unit ?? ''] ?? 0);
}

async function gc(dir: string, options: Options): Promise<ExitStatus> {
  const { dryRun, keepNone, emptyQuarantine, verbose, json, minAge } = options;
  const repository = repositoryAt(dir);
  const keep = options.keep.map((image) => new KeptInMemory(readKeptImage(repository, image).digests));
  const line = new ProgressLine(!json && !verbose);
  const freedObjects: { readonly object: string; readonly bytes: number }[] = [];
  const onFreed = (object: string, bytes: number): void => {
    if (json) freedObjects.push({ object, bytes });
    else printResult(`${dryRun ? 'would free' : 'freed     '}  ${object}  ${formatBytes(bytes)}\n`);
  };
  let result: GcResult;
  try {
    result = await collectGarbage(repository, {
      keep,
      minAgeMs: minAge,
      dryRun,
      keepNone,
      emptyQuarantine,
      onWait: warn,
      onFreed: verbose ? onFreed : undefined,
      onProgress: (directories) => line.draw((elapsed) => progressBar(directories / PREFIXES, '', elapsed)),
    });
  } finally {
    line.end();
  }
  const { path, uuid } = repository;
  const { keepers, ...told } = result;
  const images = placesOf(repository, keepers);
  if (json) printJson({ path, uuid, dryRun, ...told, images, ...(verbose && { freedObjects }) });
  else printResult(textOf(result, images, repository, options));
  return EXIT.ok;
}

/** An image that keeps objects, for people and programs. */
interface KeptBy {
  readonly id: string;
  /** registered, mounted, packed */
  readonly why: readonly string[];
  readonly objects: number;
  readonly bytes: number;
  readonly paths: readonly string[];
  /** It is at none of its paths any more. */
  readonly gone: boolean;
}

function placesOf(repository: LocalRepository, keepers: readonly Keeper[]): KeptBy[] {
  const recorded = keepers.length === 0 ? undefined : recordedPaths(repository);
  return keepers.map(({ image, kind, isMounted, objects, bytes, path }) => {
    const registered = kind === 'registered' ? (recorded?.get(image) ?? []) : [];
    const known = [...registered.map((record) => record.path), path].filter((each) => each !== '');
    const why = isMounted && kind !== 'mounted' ? [kind, 'mounted'] : [kind];
    return { id: image, why, objects, bytes, paths: [...new Set(known)], gone: isNowhere(image, registered) };
  });
}

/** Existing files are not read: only missing ones are examined. */
function isNowhere(image: string, paths: readonly RegisteredPath[]): boolean {
  if (paths.length === 0 || paths.some(({ path }) => path === '' || existsSync(path))) return false;
  return new ImageFinder().look(paths, image).every(isGone);
}

function textOf(
  result: GcResult,
  keptBy: readonly KeptBy[],
  repository: LocalRepository,
  { keep, dryRun, verbose, trunc }: Options,
): string {
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
  const gone = keptBy.filter((each) => each.gone);
  if (gone.length > 0) lines.push(`gone        ${goneText(gone, repository)}`);
  if (verbose && keptBy.length + keep.length > 0) {
    lines.push('', ...formatTable(['image', 'objects', 'size', 'why', 'path'], rowsOf(keptBy, keep, trunc)));
  }
  return `${lines.join('\n')}\n`;
}

/** For images that were deleted and are registered: the most common reason why nothing is freed. */
function goneText(gone: readonly KeptBy[], { path }: LocalRepository): string {
  const first = shown(gone[0]?.paths[0] ?? '');
  const others = gone.length > 1 ? ` (+${gone.length - 1} more)` : '';
  const [verb, them] = gone.length > 1 ? ['are', 'them'] : ['is', 'it'];
  return `${first}${others} ${verb} gone but still registered: 'cfs-repo unregister --gone ${shown(path)}' unregisters ${them}`;
}

function rowsOf(keptBy: readonly KeptBy[], keep: readonly string[], trunc: boolean): string[][] {
  const rows = keptBy.map(({ id, why, objects, bytes, paths, gone }) => [
    idForTable(id, trunc),
    formatCount(objects),
    formatBytes(bytes),
    why.join(', '),
    paths.length === 0 ? '(unknown)' : `${paths.map(shown).join(', ')}${gone ? ' (gone)' : ''}`,
  ]);
  return [...rows, ...keep.map((path) => ['', '', '', '--keep', shown(path)])];
}

const counted = (n: number, one: string, many?: string): string[] => (n === 0 ? [] : [formatCounted(n, one, many)]);
