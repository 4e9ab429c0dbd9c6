/** `cfs-repo fsck`. */

import { basename } from 'node:path';
import { printable } from '../../src/base/bytes.ts';
import { pathText } from '../../src/base/path-text.ts';
import { type ObjectUsers, usersOfObjects } from '../../src/image/object-users.ts';
import { ImageFinder, placeNow } from '../../src/image/registered-image.ts';
import { isRemote } from '../../src/remote/remote-url.ts';
import { type CheckProgress, checkRepository, type FsckResult, rememberCheck } from '../../src/store/check/fsck.ts';
import type { Repaired } from '../../src/store/check/repair.ts';
import { listRoots } from '../../src/store/gc/roots.ts';
import { PREFIXES } from '../../src/store/layout.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import type { RemoteSource } from '../../src/transfer/remote-objects.ts';
import { EXIT, type ExitStatus, printJson, threadsOption } from '../cli.ts';
import { type Color, type ColorWhen, colorOption, type Paint, painter } from '../color.ts';
import { formatBytes, formatCount, formatCounted, formatDuration } from '../format.ts';
import { addNetworkOptions, closeRemotes, type NetworkWords, openRemotes } from '../network.ts';
import { ProgressLine, progressBar } from '../progress.ts';
import { isQuiet } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import { formatTable } from '../table.ts';
import { say } from '../verbose.ts';
import { shown } from './registered-path.ts';
import { repairSources } from './repair-sources.ts';
import { type Commands, collect, repositoryAt, warn } from './repository.ts';

interface Options extends NetworkWords {
  readonly repairFrom: readonly string[];
  readonly dryRun: boolean;
  readonly jobs: number;
  readonly color: ColorWhen;
  readonly json: boolean;
}

const MAX_JOBS = 64;

export function addFsck({ program, setStatus }: Commands): void {
  const command = program
    .command('fsck')
    .description('check every object; move damaged ones to quarantine, and fetch good ones')
    .argument('<DIR>')
    .option(
      '--repair-from <DIR|MOUNT|URL>',
      'fetch good copies from this repository, or from the repositories of this mount; repeatable, searched in this order, remote ones last',
      collect,
      [],
    )
    .option('-n, --dry-run', 'only check, change nothing', false)
    .addOption(threadsOption('--jobs', MAX_JOBS))
    .addOption(colorOption())
    .option('--json', 'print the result as one JSON object', false);
  addNetworkOptions(command)
    .addHelpText(
      'after',
      `
Exit status: ${EXIT.ok} all is good, ${EXIT.repaired} damage was found and repaired, ${EXIT.found} damage remains.
`,
    )
    .action(async (dir: string, options: Options) => setStatus(await fsck(dir, options)));
}

async function fsck(dir: string, options: Options): Promise<ExitStatus> {
  const { repairFrom, dryRun, jobs, color, json } = options;
  const repository = repositoryAt(dir);
  const sources = repairSources(
    repository,
    repairFrom.filter((word) => !isRemote(word)),
  );
  const remotes = await openRemotes(repairFrom.filter(isRemote), repository.hash, options);
  for (const { path } of sources) say(() => `good copies are fetched from ${path}`);
  for (const url of remotes.keys()) say(() => `good copies are fetched from ${url}`);
  say(() => `${jobs} threads read and hash`);
  const started = performance.now();
  const line = new ProgressLine(!json);
  let checked: FsckResult;
  try {
    checked = await checkRepository(repository, {
      sources,
      threads: jobs,
      dryRun,
      onWait: warn,
      onProgress: (progress) => line.draw((elapsed) => progressText(progress, elapsed)),
    });
    if (remotes.size > 0 && !dryRun && !checked.damaged.every(isRepaired)) {
      checked = await repairedFrom([...remotes.values()], repository, checked, jobs);
      rememberCheck(repository, checked, performance.now() - started);
    }
  } finally {
    line.end();
    await closeRemotes(remotes);
  }
  const ms = Math.round(performance.now() - started);
  const { path, uuid, hash } = repository;
  const images = lookAtImages(repository);
  const objects = checked.damaged.map(({ object }) => object);
  const result: Result = { ...checked, ...images, users: usersOfObjects(objects, images.readable) };
  const { users, readable, paths, ...told } = result;
  const damaged = result.damaged.map((damage) => jsonOf(damage, users.get(damage.object)));
  const badRoots = result.badRoots.map((root) => ({ ...root, paths: paths.get(root.image) ?? [] }));
  if (json) printJson({ path, uuid, hash, ...told, damaged, badRoots, seconds: ms / 1000 });
  else if (!isQuiet() || statusOf(result) !== EXIT.ok) process.stdout.write(textOf(result, ms, painter(color)));
  return statusOf(result);
}

/** What no local repository has is fetched from remote ones. */
async function repairedFrom(
  remotes: readonly RemoteSource[],
  repository: LocalRepository,
  checked: FsckResult,
  threads: number,
): Promise<FsckResult> {
  const { repairObjects } = await import('../../src/transfer/repair-objects.ts');
  const damaged = await withSignals('what was fetched stays, and the next run continues', (signal) =>
    repairObjects(repository, checked.damaged, remotes, { threads, durable: true, signal, onWait: warn }),
  );
  return { ...checked, damaged };
}

interface ImageFile {
  readonly image: string;
  readonly path: string;
}

/** The state of the paths of registered images. */
interface ImageFiles {
  /** The image, with bytes that have changed, or a file of another kind. */
  readonly damagedImages: readonly ImageFile[];
  /** Another image. */
  readonly replacedImages: readonly (ImageFile & { readonly other: string })[];
  /** Paths of existing images. */
  readonly readable: readonly string[];
  /** For all registered images, by their ids: the paths that they were registered with. */
  readonly paths: ReadonlyMap<string, readonly string[]>;
}

type Result = FsckResult & ImageFiles & { readonly users: ReadonlyMap<string, ObjectUsers> };

const isRepaired = ({ from }: Repaired): boolean => from !== undefined;

function lookAtImages(repository: LocalRepository): ImageFiles {
  const finder = new ImageFinder();
  const roots = listRoots(repository);
  const all = roots.flatMap(({ image, paths }) => finder.look(paths, image).map((found) => ({ image, ...found })));
  const there = all.flatMap(({ image, ...found }) => {
    const path = placeNow(found);
    return path === undefined ? [] : [[image, path] as const];
  });
  return {
    damagedImages: all.filter(({ state }) => state === 'damaged').map(({ image, path }) => ({ image, path })),
    replacedImages: all.flatMap(({ image, path, other }) => (other === undefined ? [] : [{ image, path, other }])),
    // one path of each
    readable: [...new Map(there).values()],
    paths: new Map(roots.map(({ image, paths }) => [image, paths.flatMap(({ path }) => path || [])] as const)),
  };
}

function statusOf({ damaged, badRoots, damagedImages }: Result): ExitStatus {
  if (badRoots.length > 0 || damagedImages.length > 0) return EXIT.found;
  if (damaged.length === 0) return EXIT.ok;
  return damaged.every(isRepaired) ? EXIT.repaired : EXIT.found;
}

const jsonOf = (damage: Repaired, users: ObjectUsers | undefined): object => ({
  ...damage,
  repaired: isRepaired(damage),
  in: (users?.first ?? []).map(({ image, file }) => ({ image, file: pathText(file) })),
  inCount: users?.count ?? 0,
});

/** "doc.cfs:/bash/copyright (+2 more)" */
function usersText(users: ObjectUsers | undefined): string {
  const [first] = users?.first ?? [];
  if (users === undefined || first === undefined) return '';
  const more = users.count > 1 ? ` (+${formatCount(users.count - 1)} more)` : '';
  return `${basename(first.image)}:${printable(first.file)}${more}`;
}

/** "[######......] 40%  12,000 objects/s  2.1 GB/s  12 s left" */
function progressText({ objects, bytes, directories }: CheckProgress, elapsedMs: number): string {
  const seconds = Math.max(elapsedMs / 1000, 0.001);
  const rates = `${formatCount(Math.round(objects / seconds))} objects/s  ${formatBytes(bytes / seconds)}/s`;
  // digests are spread evenly over the directories
  return progressBar(directories / PREFIXES, rates, elapsedMs);
}

function textOf(result: Result, ms: number, paint: Paint): string {
  const { objects, bytes, damaged, roots, badRoots, damagedImages, replacedImages, users, paths } = result;
  const { oddities, temporaries, quarantined } = result;
  const rate = `${formatDuration(ms)}, ${formatBytes((bytes * 1000) / Math.max(ms, 1))}/s`;
  const repaired = damaged.filter(isRepaired).length;
  const lines = [
    `checked     ${formatCounted(objects, 'object')}, ${formatBytes(bytes)} (${rate})`,
    `damaged     ${paint(damageColor(damaged.length, repaired), damageText(damaged.length, repaired))}`,
  ];
  if (roots > 0) {
    const bad = `, of these damaged ${formatCount(damagedImages.length)}`;
    const files = damagedImages.length > 0 ? paint('red', bad) : '';
    lines.push(`images      ${formatCount(roots)} registered${files}`);
  }
  if (quarantined > 0) lines.push(`quarantine  ${formatCounted(quarantined, 'file')}`);
  if (temporaries > 0) lines.push(`unfinished  ${formatCounted(temporaries, 'file')} in tmp/`);
  if (oddities.length > 0) lines.push(`odd         ${formatCount(oddities.length)}`);
  if (damaged.length > 0) {
    lines.push(
      '',
      ...formatTable(
        ['object', 'problem', 'in', 'now'],
        damaged.map((damage) => rowOf(damage, users.get(damage.object))),
      ),
    );
  }
  if (badRoots.length > 0) {
    lines.push(
      '',
      ...formatTable(
        ['image', 'path', 'problem'],
        badRoots.map(({ image, problem }) => [image, (paths.get(image) ?? []).map(shown).join(', '), problem]),
      ),
    );
  }
  if (damagedImages.length > 0) {
    const rows = damagedImages.map(({ image, path }) => [image, `bytes of the file have changed: ${shown(path)}`]);
    lines.push('', ...formatTable(['image', 'problem'], rows));
  }
  if (replacedImages.length > 0) {
    const rows = replacedImages.map(({ image, path, other }) => [
      image,
      `another image is at its path, ${other}: ${shown(path)}`,
    ]);
    lines.push('', ...formatTable(['image', 'note'], rows));
  }
  if (oddities.length > 0) {
    const rows = oddities.map(({ path, problem, mended }) => [path, problem, mended === true ? 'mended' : 'left']);
    lines.push('', ...formatTable(['entry', 'problem', 'now'], rows));
  }
  return `${lines.join('\n')}\n`;
}

const damageText = (damaged: number, repaired: number): string =>
  damaged === 0 ? '0' : `${formatCount(damaged)}, of these repaired ${formatCount(repaired)}`;

/** Red if damage remains. */
const damageColor = (damaged: number, repaired: number): Color =>
  damaged === 0 ? 'green' : repaired === damaged ? 'yellow' : 'red';

function rowOf(damage: Repaired, users: ObjectUsers | undefined): readonly string[] {
  const { object, problem, quarantined, from, hindrance } = damage;
  const parts = [
    ...(from === undefined ? [] : [`repaired from ${from}`]),
    ...(quarantined === undefined ? [] : [`moved to ${quarantined}`]),
    ...(hindrance === undefined ? [] : [`not repaired: ${hindrance}`]),
  ];
  // --json has the other digest
  return [object, problem.replace(/: \S+ is [0-9a-f]{64}$/, ''), usersText(users), parts.join('; ') || 'left'];
}
