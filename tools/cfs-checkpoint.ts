#!/usr/bin/env node
/** cfs-checkpoint: the additional steps for checkpoint and restore of processes that use a mount. */
import { resolve } from 'node:path';
import { oneLine } from '../src/base/bytes.ts';
import { CfsError } from '../src/base/error.ts';
import { check } from '../src/checkpoint/check.ts';
import { releaseNames } from '../src/checkpoint/names.ts';
import { prepare } from '../src/checkpoint/prepare.ts';
import { EXIT, type ExitStatus, makeCommand, prepareCommands, printError, printJson, runTool } from './cli.ts';
import { formatCounted } from './format.ts';

const EXAMPLES = `  cfs-checkpoint prepare -D dump /mnt 4711 && criu dump -t 4711 -D dump
  umount /mnt
  cfs-mount --from dump && cfs-checkpoint check -D dump /mnt && criu restore -D dump -d
  cfs-checkpoint release -D dump             if the dumped processes keep running`;

interface Options {
  readonly imagesDir: string;
  readonly json: boolean;
}

interface PrepareOptions extends Options {
  readonly hold: boolean;
}

const warn = (line: string): void => printError('cfs-checkpoint', line);

async function main(argv: readonly string[]): Promise<ExitStatus> {
  let status: ExitStatus = EXIT.ok;
  const program = makeCommand(
    'cfs-checkpoint',
    'Prepares a mount for the checkpoint of processes that use it, and checks it before they are restored.',
    EXAMPLES,
  );
  const add = (usage: string, description: string) =>
    program
      .command(usage)
      .description(description)
      .option('-D, --images-dir <DIR>', 'the directory of the dump, as criu takes it', '.')
      .option('--json', 'one JSON value on standard output', false);
  add(
    'prepare <mount> <pid...>',
    'before the dump: make watched files available by their paths until the processes end, save sources and files',
  )
    .option(
      '--no-hold',
      'do not start the process that holds the names of watched files until the dumped processes end',
    )
    .action((mount: string, pids: string[], options: PrepareOptions) =>
      showPrepared(mount, pids.map(parsePid), options),
    );
  add('release', 'after a dump that leaves the processes running: end the process that holds the names').action(
    async ({ imagesDir, json }: Options) => {
      const released = await releaseNames(resolve(imagesDir));
      if (json) printJson({ released });
      else process.stdout.write(released ? 'released\n' : 'no names were held\n');
    },
  );
  add(
    'check <mount>',
    `before the restore: check that the files in use are unchanged; exit status ${EXIT.found} if not`,
  ).action((mount: string, options: Options) => {
    status = showChecked(mount, options);
  });
  program.action(() => {
    throw new CfsError(
      'usage',
      "no command given; the commands are prepare, release and check. 'cfs-checkpoint --help' shows more.",
    );
  });
  prepareCommands(program, argv);
  await program.parseAsync(argv);
  return status;
}

function parsePid(text: string): number {
  const pid = Number(text);
  if (!/^\d+$/.test(text) || pid < 1) throw new CfsError('usage', `"${text}" is not a process id`);
  return pid;
}

async function showPrepared(
  mount: string,
  pids: readonly number[],
  { imagesDir, json, hold }: PrepareOptions,
): Promise<void> {
  const prepared = await prepare(mount, pids, resolve(imagesDir), { hold, warn });
  if (json) {
    printJson(prepared);
    return;
  }
  const { mountpoint, processes, files, watched, holder, sourceList } = prepared;
  process.stdout.write(
    `process${processes.length === 1 ? '' : 'es'} ${processes.join(' ')}: ${formatCounted(files, 'file')} of ${mountpoint} in use, ${watched} of them watched\n` +
      (holder === undefined ? '' : `process ${holder} holds their names until the dumped processes end\n`) +
      `saved ${sourceList}: after the dump 'umount ${mountpoint}', before the restore 'cfs-mount --from ${imagesDir}'\n`,
  );
}

function showChecked(mount: string, { imagesDir, json }: Options): ExitStatus {
  const files = check(resolve(imagesDir), mount, warn);
  const changed = files.filter(({ problem }) => problem !== undefined);
  if (json) printJson(files);
  else if (changed.length === 0)
    process.stdout.write(`${formatCounted(files.length, 'file is as it was', 'files are as they were')}\n`);
  for (const { path, uses, problem } of json ? [] : changed) {
    process.stdout.write(`${oneLine(`${path}: ${problem} (used by ${uses.join(', ')})`)}\n`);
  }
  return changed.length === 0 ? EXIT.ok : EXIT.found;
}

await runTool('cfs-checkpoint', main);
