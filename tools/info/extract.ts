/** `cfs-info extract`. */
import { CfsError } from '../../src/base/error.ts';
import { pathText } from '../../src/base/path-text.ts';
import type { ExtractProblem } from '../../src/extract/extract-entries.ts';
import { type ExtractProgress, type ExtractResult, extractTree } from '../../src/extract/extract-tree.ts';
import type { LocalRepository } from '../../src/store/local-repository.ts';
import { EXIT, type ExitStatus, printError, printJson, statusOfKind } from '../cli.ts';
import { formatBytes, formatCount, formatCounted } from '../format.ts';
import { textOf } from '../hint-words.ts';
import { ProgressLine, progressBar } from '../progress.ts';
import { withSignals } from '../signals.ts';
import { say } from '../verbose.ts';
import { withObjects } from './fetched-objects.ts';
import { selectedPaths } from './paths.ts';
import { readImage } from './read-image.ts';
import type { RepositoryWords } from './repositories.ts';

export interface ExtractWords {
  readonly directory: string;
  readonly sameOwner: boolean;
  readonly skipXattrs: boolean;
  readonly threads: number;
  readonly json?: true;
}

const warn = (line: string): void => printError('cfs-info', line);

/**
 * Extracts an image, or parts of it. Each file that is not complete is a line on stderr.
 * @returns the status of the first failure
 */
export async function extract(
  image: string,
  paths: readonly string[],
  words: RepositoryWords,
  { directory, sameOwner, skipXattrs, threads, json }: ExtractWords,
): Promise<ExitStatus> {
  if (directory === '') throw new CfsError('usage', '-C is empty');
  const { id, tables } = readImage(image);
  const problems: (ExtractProblem | CfsError)[] = [];
  const selected = selectedPaths(tables, image, paths, (error) => {
    warn(textOf(error));
    problems.push(error);
  });
  const line = new ProgressLine(json !== true);
  const started = performance.now();
  const onProblem = (problem: ExtractProblem | CfsError): void => {
    problems.push(problem);
    line.end();
    warn(textOf({ message: problem.message, hint: problem.hint }));
  };
  const extractFrom = (repositories: readonly LocalRepository[], signal: AbortSignal): Promise<ExtractResult> =>
    extractTree(tables, directory, {
      image,
      repositories,
      paths: selected,
      threads,
      owners: sameOwner,
      xattrs: !skipXattrs,
      signal,
      onProblem,
      onWarning: warn,
      onProgress: (progress) => line.draw((elapsed) => progressText(progress, elapsed)),
    });
  const result = await withSignals('the files that are there are complete', async (signal) => {
    try {
      return await withObjects({ id, tables }, selected, words, (repositories) => extractFrom(repositories, signal));
    } finally {
      line.end();
    }
  });
  say(
    () =>
      `${formatCounted(result.entries, 'entry', 'entries')}, ${formatBytes(result.bytes)}, ` +
      `in ${Math.round(performance.now() - started)} ms`,
  );
  if (json === true) printJson(jsonOf(result, problems));
  else reportLeftOut(result);
  const [first] = problems;
  return first === undefined ? EXIT.ok : statusOfKind(first.kind);
}

function progressText({ entries, allEntries, bytes }: ExtractProgress, elapsedMs: number): string {
  const seconds = Math.max(elapsedMs / 1000, 0.001);
  const rates = `${formatCount(Math.round(entries / seconds))} entries/s  ${formatBytes(bytes / seconds)}/s`;
  return progressBar(entries / allEntries, rates, elapsedMs);
}

/** A user that is not root need not expect what only root can do; but it is not the whole image. */
function reportLeftOut({ leftOut: { owners, xattrs, devices } }: ExtractResult): void {
  const parts = [
    ...(owners > 0 ? [`the owners of ${formatCounted(owners, 'file')}`] : []),
    ...(xattrs > 0 ? [formatCounted(xattrs, 'extended attribute')] : []),
    ...(devices > 0 ? [formatCounted(devices, 'device')] : []),
  ];
  if (parts.length > 0) warn(`left out, because only root can set them: ${parts.join(', ')}`);
}

const jsonOf = (
  { entries, bytes, leftOut }: ExtractResult,
  problems: readonly (ExtractProblem | CfsError)[],
): object => ({
  entries,
  bytes,
  leftOut,
  problems: problems.map((problem) => ({
    ...('path' in problem ? { path: pathText(problem.path) } : {}),
    kind: problem.kind,
    message: problem.message,
  })),
});
