/** `cfs-repo seal`. */
import { CfsError } from '../../src/base/error.ts';
import { sealImageFile } from '../../src/image/seal-image.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { type SealResult, sealObjects } from '../../src/store/seal.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatCount, formatCounted, formatDuration } from '../format.ts';
import { ProgressLine } from '../progress.ts';
import { printResult } from '../quiet.ts';
import { imageText, problemLines, sealedText, sealStatus } from '../seal-report.ts';
import { type Commands, collect, type FailedOperand, failedOperand, repositoryAt, warn } from './repository.ts';

interface Options {
  readonly image: readonly string[];
  readonly json: boolean;
}

export function addSeal({ program, setStatus }: Commands): void {
  program
    .command('seal')
    .description(
      'seal every object with fs-verity: it can never be changed, and the kernel checks each page that is read',
    )
    .argument('[DIR]')
    .option('--image <IMAGE>', 'seal this image file; repeatable', collect, [])
    .option('--json', 'print the result as one JSON object', false)
    .addHelpText(
      'after',
      `
It can be stopped and repeated. A sealed file can be read, renamed and deleted, but never written again.
Exit status: ${EXIT.ok} everything is sealed, ${EXIT.system} not supported by the file system or the kernel, ${EXIT.store} some objects are not sealed, or are damaged.
`,
    )
    .action(async (dir: string | undefined, options: Options) => setStatus(await seal(dir, options)));
}

async function seal(dir: string | undefined, { image: names, json }: Options): Promise<ExitStatus> {
  if (dir === undefined && names.length === 0)
    throw new CfsError('usage', 'DIR, or --image IMAGE, or both are required');
  const repository = dir === undefined ? undefined : repositoryAt(dir);
  const started = performance.now();
  const result = repository === undefined ? undefined : await sealAll(repository, json);
  let failure: ExitStatus = EXIT.ok;
  const failed: FailedOperand[] = [];
  const images = names.flatMap((image) => {
    try {
      return sealImageFile(image);
    } catch (error) {
      // the results of the others are reported nevertheless
      failed.push(failedOperand(image, names.length + (repository === undefined ? 0 : 1), error));
      if (failure === EXIT.ok) failure = failed[0]?.error.status ?? EXIT.ok;
      return [];
    }
  });
  const ms = Math.round(performance.now() - started);
  if (json) printJson({ ...jsonOf(repository, result), images: [...images, ...failed], seconds: ms / 1000 });
  else printResult([...textOf(result, ms), ...images.map((image) => imageText(image)), ''].join('\n'));
  return failure === EXIT.ok ? sealStatus(result?.problems ?? [], images) : failure;
}

async function sealAll(repository: LocalRepository, json: boolean): Promise<SealResult> {
  const line = new ProgressLine(!json);
  try {
    return await sealObjects(repository, undefined, {
      onWait: warn,
      onProgress: ({ sealed, already }) =>
        line.draw((elapsedMs) => {
          const rate = Math.round((sealed * 1000) / Math.max(elapsedMs, 1));
          return `${formatCounted(sealed, 'object')} sealed, ${formatCount(already)} sealed before  ${formatCount(rate)} objects/s`;
        }),
    });
  } finally {
    line.end();
  }
}

function jsonOf(repository: LocalRepository | undefined, result: SealResult | undefined): object {
  if (repository === undefined) return {};
  const { path, uuid, hash } = repository;
  return { path, uuid, hash, ...result };
}

function textOf(result: SealResult | undefined, ms: number): string[] {
  if (result === undefined) return [];
  return [
    `sealed   ${sealedText(result)} (${formatDuration(ms)})`,
    `before   ${formatCount(result.already)}`,
    ...problemLines(result.problems),
  ];
}
