/** `cfs-repo export` and `cfs-repo import`. */
import { statSync } from 'node:fs';
import { isatty } from 'node:tty';
import { CfsError } from '../../src/base/error.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { openOrInitRepository } from '../../src/store/open-repository.ts';
import { exportImages } from '../../src/transfer/export-images.ts';
import { type Imported, importImages } from '../../src/transfer/import-images.ts';
import { loadImages } from '../../src/transfer/loaded-images.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import { Output, OutputClosed } from '../info/output.ts';
import { ProgressLine } from '../progress.ts';
import { printResult } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import { imageFile } from './image-ids.ts';
import { type Commands, checkDirectoryArgument, repositoryAt, sayRepository, warn } from './repository.ts';

interface ImportWords {
  readonly directory: string;
  readonly fsync: boolean;
  readonly json: boolean;
}

const STDIN = 0;
const STDOUT = 1;

export function addStream({ program, setStatus }: Commands): void {
  program
    .command('export')
    .description('write images and their objects to standard output, as one stream for import')
    .argument('<DIR>', 'the repository that has the objects')
    .argument('<IMAGE|ID...>')
    .action((dir: string, images: string[]) => setStatus(exportTo(dir, images)));
  program
    .command('import')
    .description('read a stream of export from standard input: store the objects, write and register the images')
    .argument('<DIR>', 'the repository for the objects; created if it is missing')
    .option('-C, --directory <DIR>', 'where the images are written; one of the same name is replaced', '.')
    .option('--no-fsync', 'do not wait for the disk; a crash of the machine may lose objects and images')
    .option('--json', 'print the result as one JSON object', false)
    .action(async (dir: string, options: ImportWords) => setStatus(await importFrom(dir, options)));
}

function exportTo(dir: string, paths: readonly string[]): ExitStatus {
  const repository = repositoryAt(dir);
  if (isatty(STDOUT)) throw new CfsError('usage', 'Refusing to write a stream to a terminal: redirect it');
  const files = paths.map((path) => imageFile([repository], path));
  const images = loadImages(files, repository);
  const out = new Output();
  try {
    for (const bytes of exportImages(repository, images)) out.bytes(bytes);
    out.flush();
    return EXIT.ok;
  } catch (error) {
    // unlike a listing, a stream that is cut off is of no use
    if (error instanceof OutputClosed) throw new CfsError('system', 'Cannot write the stream: its reader has ended');
    throw error;
  }
}

async function importFrom(dir: string, { directory, fsync, json }: ImportWords): Promise<ExitStatus> {
  checkDirectoryArgument(dir);
  if (isatty(STDIN)) throw new CfsError('usage', 'Refusing to read a stream from a terminal: redirect a file');
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new CfsError('usage', `Cannot write images to ${directory}: it is not a directory`);
  }
  let repository: LocalRepository | undefined;
  const open = (hash: LocalRepository['hash']): LocalRepository => {
    repository = openOrInitRepository(dir, hash);
    sayRepository(repository);
    return repository;
  };
  const line = new ProgressLine(!json);
  const left = 'objects that are complete stay, and no image was written';
  const result = await withSignals(left, async (signal) => {
    const end = (): void => void process.stdin.destroy(signal.reason as Error);
    signal.addEventListener('abort', end);
    try {
      return await importImages(process.stdin, open, {
        directory,
        durable: fsync,
        signal,
        onWait: warn,
        onProgress: ({ objects, bytes }) =>
          line.draw(
            (elapsed) => `${formatCount(objects)} objects  ${formatBytes((bytes * 1000) / Math.max(elapsed, 1))}/s`,
          ),
      });
    } finally {
      signal.removeEventListener('abort', end);
      // a writer that continues must not keep this process
      process.stdin.destroy();
      line.end();
    }
  });
  report(result, repository as LocalRepository, json);
  return result.images.some(({ missing }) => missing > 0) ? EXIT.found : EXIT.ok;
}

function report(result: Imported, { path, uuid, hash }: LocalRepository, json: boolean): void {
  const { objects, newObjects, newBytes, images } = result;
  if (json) printJson({ path, uuid, hash, objects, newObjects, newBytes, images });
  else {
    printResult(
      [
        `objects     ${formatCount(objects)}, of these new ${formatCount(newObjects)} (${formatBytes(newBytes)})`,
        ...images.map((image) => `image       ${image.path}  ${image.id}`),
        '',
      ].join('\n'),
    );
  }
  for (const image of images) {
    if (image.missing > 0) warn(`${image.path}: ${formatCounted(image.missing, 'object')} of it are missing`);
  }
}
