/** `cfs-repo prune`. */
import { CfsError } from '../../src/base/error.ts';
import { isRemote } from '../../src/remote/remote-url.ts';
import type { FileAmount, Pruned } from '../../src/transfer/prune.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCounted } from '../format.ts';
import { printResult } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import { parseTime } from './gc.ts';
import { type Commands, checkDirectoryArgument } from './repository.ts';

interface Options {
  readonly minAge: number;
  readonly dryRun: boolean;
  readonly verbose: boolean;
  readonly json: boolean;
}

const DAY_MS = 86_400_000;

export function addPrune({ program, setStatus }: Commands): void {
  program
    .command('prune')
    .description('delete files from a directory that images were pushed to, if no name there leads to them')
    .argument('<DIR>')
    .option(
      '--min-age <TIME>',
      'keep files that were written within this time: 30s, 10m, 1h, 7d; 0 for none (default: 1d)',
      parseTime,
      DAY_MS,
    )
    .option('-n, --dry-run', 'delete nothing, only report what would be deleted', false)
    .option('-v, --verbose', 'list the deleted files', false)
    .option('--json', 'print the result as one JSON object', false)
    .configureHelp({ optionDescription: ({ description }) => description })
    .action(async (dir: string, options: Options) => setStatus(await prune(dir, options)));
}

async function prune(dir: string, { minAge, dryRun, verbose, json }: Options): Promise<ExitStatus> {
  checkDirectoryArgument(dir);
  if (isRemote(dir)) {
    const reason = 'a web server does not list its files: prune the directory that it shows';
    throw new CfsError('usage', `Cannot prune ${dir}: ${reason}`);
  }
  const freedFiles: { readonly name: string; readonly bytes: number }[] = [];
  const onFreed = (name: string, bytes: number): void => {
    if (json) freedFiles.push({ name, bytes });
    else printResult(`${dryRun ? 'would free' : 'freed     '}  ${name}  ${formatBytes(bytes)}\n`);
  };
  const { pruneTree } = await import('../../src/transfer/prune.ts');
  const result = await withSignals('what names lead to is there', (signal) =>
    pruneTree(dir, { minAgeMs: minAge, dryRun, signal, onFreed: verbose ? onFreed : undefined }),
  );
  const { path, ...told } = result;
  if (json) printJson({ path, dryRun, ...told, ...(verbose && { freedFiles }) });
  else printResult(textOf(result, dryRun));
  return EXIT.ok;
}

function textOf({ names, images, kept, young, freed }: Pruned, dryRun: boolean): string {
  const amount = ({ files, bytes }: FileAmount): string => `${formatCounted(files, 'file')} (${formatBytes(bytes)})`;
  return [
    `names       ${formatCounted(names, 'name')} of ${formatCounted(images, 'image')}`,
    `kept        ${amount(kept)}`,
    ...(young.files > 0 ? [`of these    ${amount(young)} only because they are new (--min-age)`] : []),
    `${dryRun ? 'would free' : 'freed     '}  ${amount(freed)}`,
    '',
  ].join('\n');
}
