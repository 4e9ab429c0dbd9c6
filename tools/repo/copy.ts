/** `cfs-repo copy`. */
import { CfsError } from '../../src/base/error.ts';
import { isRemote } from '../../src/remote/remote-url.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { openOrInitRepository, openRepository } from '../../src/store/open-repository.ts';
import { type CopiedImages, type CopySource, copyImages } from '../../src/transfer/copy-images.ts';
import type { CopyProgress } from '../../src/transfer/copy-threads.ts';
import { expectHash, type LoadedImage, objectsOf, readImages } from '../../src/transfer/loaded-images.ts';
import { EXIT, type ExitStatus, printJson, threadsOption } from '../cli.ts';
import { formatBytes, formatCount, formatCounted, formatDuration } from '../format.ts';
import { addNetworkOptions, closeRemotes, type NetworkWords, openRemotes } from '../network.ts';
import { ProgressLine, progressBar } from '../progress.ts';
import { printResult } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import { imageFile } from './image-ids.ts';
import { type Commands, checkDirectoryArgument, collect, sayRepository, warn } from './repository.ts';

interface Options extends NetworkWords {
  readonly from: readonly string[];
  readonly threads: number;
  readonly fsync: boolean;
  readonly json: boolean;
}

const MAX_THREADS = 64;
/** Objects without a good copy that are shown one by one. */
const MOST_SHOWN = 10;

export function addCopy({ program, setStatus }: Commands): void {
  const command = program
    .command('copy')
    .description('copy the objects of images from other repositories, if DIR does not have them; register the images')
    .argument('<DIR>', 'the repository to copy to; created if it is missing')
    .argument('<IMAGE|ID...>')
    .option('--from <DIR|URL>', 'a repository to copy from; repeatable, searched in this order', collect, [])
    .addOption(threadsOption('--threads', MAX_THREADS))
    .option('--no-fsync', 'do not wait for the disk; a crash of the machine may lose objects')
    .option('--json', 'print the result as one JSON object', false);
  addNetworkOptions(command).action(async (dir: string, images: string[], options: Options) =>
    setStatus(await copy(dir, images, options)),
  );
}

async function copy(dir: string, paths: readonly string[], options: Options): Promise<ExitStatus> {
  const { from, threads, fsync, json } = options;
  checkDirectoryArgument(dir);
  if (from.length === 0) throw new CfsError('usage', '--from DIR is missing: the repository to copy from');
  const opened = new Map(from.filter((word) => !isRemote(word)).map((word) => [word, openRepository(word)] as const));
  const files = paths.map((path) => imageFile([...opened.values()], path));
  const images = readImages(files) as [LoadedImage, ...LoadedImage[]];
  const { hash } = images[0].tables.header;
  // before a repository is made for a mistyped image
  for (const repository of opened.values()) expectHash(images, repository);
  expectHash(images, { hash, path: dir });
  const line = new ProgressLine(!json);
  const started = performance.now();
  const left = 'what was copied stays, and the next run continues';
  const { target, result } = await withSignals(left, async (signal) => {
    const remotes = await openRemotes(from.filter(isRemote), hash, options, signal);
    try {
      const target = openOrInitRepository(dir, hash);
      for (const repository of [...opened.values(), target]) sayRepository(repository);
      const { sizes } = objectsOf(images);
      const bytes = sizes.reduce((sum, size) => sum + size, 0);
      const ofWord = (word: string): CopySource => (opened.get(word) ?? remotes.get(word)) as CopySource;
      const result = await copyImages(from.map(ofWord), target, images, {
        threads,
        durable: fsync,
        signal,
        onWait: warn,
        onProgress: (done) => drawProgress(line, done, bytes),
      });
      return { target, result };
    } finally {
      line.end();
      await closeRemotes(remotes);
    }
  });
  const ms = Math.round(performance.now() - started);
  if (json) printJson(jsonOf(target, result, ms));
  else printResult(textOf(result, ms));
  reportProblems('copy', result.failures, result.images);
  return result.failures.length > 0 ? EXIT.store : EXIT.ok;
}

/** @param total bytes of all objects */
export function drawProgress(line: ProgressLine, { objects, bytes }: CopyProgress, total: number): void {
  line.draw((elapsed) => {
    const rate = `${formatCount(objects)} objects  ${formatBytes((bytes * 1000) / Math.max(elapsed, 1))}/s`;
    return progressBar(total === 0 ? 1 : bytes / total, rate, elapsed);
  });
}

export const jsonOf = ({ path, uuid, hash }: LocalRepository, result: CopiedImages, ms: number): object => ({
  path,
  uuid,
  hash,
  images: result.images,
  objects: result.copied,
  bytes: result.copiedBytes,
  existing: result.existing,
  problems: result.failures,
  seconds: ms / 1000,
});

function textOf({ images, copied, copiedBytes, existing }: CopiedImages, ms: number): string {
  const complete = images.filter(({ missing }) => missing === 0).length;
  return [
    `copied      ${formatCounted(copied, 'object')}, ${formatBytes(copiedBytes)} (${formatDuration(ms)})`,
    `existing    ${formatCounted(existing, 'object')}`,
    `registered  ${formatCounted(complete, 'image')}`,
    '',
  ].join('\n');
}

const PAST = { copy: 'copied', fetch: 'fetched' } as const;

/** Reports objects that could not be copied or fetched: `verb` says which. */
export function reportProblems(
  verb: keyof typeof PAST,
  failures: CopiedImages['failures'],
  images: CopiedImages['images'],
): void {
  for (const { object, problem } of failures.slice(0, MOST_SHOWN)) warn(`Cannot ${verb} object ${object}: ${problem}`);
  if (failures.length > MOST_SHOWN) warn(`and ${formatCounted(failures.length - MOST_SHOWN, 'more object')}`);
  for (const { path, missing } of images) {
    if (missing > 0)
      warn(`${path} is not registered: ${formatCounted(missing, 'object')} of it could not be ${PAST[verb]}`);
  }
}
