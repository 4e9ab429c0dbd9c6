/** `cfs-repo sync`. */
import { CfsError } from '../../src/base/error.ts';
import { isRefName, REF_RULE } from '../../src/remote/remote-url.ts';
import type { TreeSource } from '../../src/transfer/tree-source.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';
import { formatBytes, formatCounted, formatDuration } from '../format.ts';
import { addNetworkOptions, type NetworkWords } from '../network.ts';
import { ProgressLine } from '../progress.ts';
import { printResult } from '../quiet.ts';
import { withSignals } from '../signals.ts';
import { type Commands, checkDirectoryArgument, collect } from './repository.ts';

interface Words extends NetworkWords {
  readonly ref: readonly string[];
  readonly fsync: boolean;
  readonly json: boolean;
}

export function addSync({ program, setStatus }: Commands): void {
  const command = program
    .command('sync')
    .description('mirror a remote repository: copy names of images with all files that DIR does not have')
    .argument('<SOURCE>', 'https://HOST/PATH#NAME, or a directory that was pushed to, with all its names')
    .argument('<DIR>', 'a directory, or a URL that takes PUT; created if it is missing')
    .addHelpText('after', '\nNothing is deleted from DIR: cfs-repo prune does that.');
  command.option('--ref <NAME>', 'copy the image of this name in SOURCE, and no other; repeatable', collect, []);
  addNetworkOptions(command, 'files that are copied at the same time')
    .option('--no-fsync', 'do not wait for the disk; a crash of the machine may lose files')
    .option('--json', 'print the result as one JSON object', false)
    .action(async (source: string, dir: string, words: Words) => setStatus(await sync(source, dir, words)));
}

async function sync(source: string, dir: string, options: Words): Promise<ExitStatus> {
  const { connections, insecure, cacert, fsync, json } = options;
  for (const word of [source, dir]) checkDirectoryArgument(word);
  const words = namedSources(source, options.ref);
  const { openTree } = await import('../../src/transfer/tree-source.ts');
  const { openTarget } = await import('../../src/transfer/push-target.ts');
  const { syncImages } = await import('../../src/transfer/sync-images.ts');
  const target = openTarget(dir, { connections, cacert, insecure, durable: fsync });
  const line = new ProgressLine(!json);
  const started = performance.now();
  const result = await withSignals('what was copied stays, and the next run continues', async (signal) => {
    const sources: TreeSource[] = [];
    try {
      for (const word of words) sources.push(await openTree(word, { connections, cacert, insecure }, signal));
      return await syncImages(sources, target, {
        connections,
        signal,
        onProgress: ({ files, bytes }) =>
          line.draw(() => `copied ${formatCounted(files, 'file')}, ${formatBytes(bytes)}`),
      });
    } finally {
      line.end();
      for (const source of sources) await source.close();
      await target.close();
    }
  });
  const ms = Math.round(performance.now() - started);
  const { images, files, bytes, existing } = result;
  if (json) printJson({ target: target.text, ...result, seconds: ms / 1000 });
  else {
    printResult(
      [
        ...images.map(({ name, id }) => `image     ${name}  ${id}`),
        `copied    ${formatCounted(files, 'file')}, ${formatBytes(bytes)} (${formatDuration(ms)})`,
        `existing  ${formatCounted(existing, 'file')}`,
        '',
      ].join('\n'),
    );
  }
  return EXIT.ok;
}

/** The source, once for each name. @throws CfsError (usage) for a wrong name */
function namedSources(source: string, refs: readonly string[]): readonly string[] {
  if (refs.length === 0) return [source];
  if (source.includes('#')) throw new CfsError('usage', `Cannot use --ref with ${source}, which has a name already`);
  const wrong = refs.find((ref) => !isRefName(ref));
  if (wrong !== undefined)
    throw new CfsError('usage', `"${wrong}" is not a name of an image: it consists of ${REF_RULE}`);
  return [...new Set(refs)].map((ref) => `${source}#${ref}`);
}
