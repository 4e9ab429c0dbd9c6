#!/usr/bin/env node
/** cfs-checkpoint: the additional steps for checkpoint and restore of processes that use a mount. */
import { resolve } from 'node:path';
import { oneLine } from '../src/base/bytes.ts';
import { CfsError } from '../src/base/error.ts';
import { check } from '../src/checkpoint/check.ts';
import { type CleanedUp, cleanUp, cleanUpAll } from '../src/checkpoint/cleanup.ts';
import { releaseNames } from '../src/checkpoint/names.ts';
import { prepare } from '../src/checkpoint/prepare.ts';
import { INHERIT, openRelinked, restoreToCommand, restoreToSocket, VARIABLE } from '../src/checkpoint/restore-files.ts';
import { DEFAULT_TEMPLATE, parseTemplate } from '../src/checkpoint/unlinked-names.ts';
import {
  EXIT,
  type ExitStatus,
  makeCommand,
  prepareCommands,
  printError,
  printJson,
  runTool,
  takeOtherCommands,
} from './cli.ts';
import { formatCounted } from './format.ts';

const EXAMPLES = `  cfs-checkpoint prepare -D dump /mnt 4711 && criu dump -t 4711 -D dump
  umount /mnt
  cfs-mount --from dump && cfs-checkpoint check -D dump /mnt && criu restore -D dump -d
  cfs-checkpoint release -D dump             if the dumped processes keep running
  cfs-checkpoint prepare --relink -D dump /mnt 4711         without CRIU: unlinked files get names
  cfs-checkpoint restore-files -D dump /mnt -- ls -l /proc/self/fd   opens and unlinks them, for a program
  cfs-checkpoint cleanup -D dump /mnt                       if they will not be restored`;

interface Options {
  readonly imagesDir: string;
  readonly json: boolean;
}

interface PrepareOptions extends Options {
  readonly hold: boolean;
  readonly relink: boolean;
  readonly template?: string;
}

interface RestoreOptions extends Options {
  readonly socket?: string;
}

interface CleanupOptions extends Options {
  readonly all: boolean;
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
    'before the dump: make watched files available by their paths, and unlinked ones linkable; save sources and files',
  )
    .option(
      '--no-hold',
      'do not start the process that holds watched and unlinked files until the dumped processes end',
    )
    .option('--relink', 'give unlinked files and directories names, which restore-files removes', false)
    .option(
      '--template <TEXT>',
      `the names of --relink; %x: the checkpoint, %u: the file (default: ${DEFAULT_TEMPLATE})`,
    )
    .action((mount: string, pids: string[], options: PrepareOptions) =>
      showPrepared(mount, pids.map(parsePid), options),
    );
  add(
    'restore-files <mount> [command...]',
    'after the mount: open the files that --relink named, remove the names, and pass the descriptors on',
  )
    .option('--socket <PATH>', 'send the descriptors to a Unix socket (SCM_RIGHTS); without, a command inherits them')
    .addHelpText(
      'after',
      `\nThe command inherits descriptors from 3 on, which ${VARIABLE} describes; its argument ${INHERIT}\nbecomes the options of criu restore for them.`,
    )
    .action(async (mount: string, command: string[], options: RestoreOptions) => {
      status = await restoreFiles(mount, command, options);
    });
  add(
    'cleanup <mount>',
    'if it will not be restored: remove the names that unlinked files got for the checkpoint, and its claim',
  )
    .option('--all', 'of all checkpoints of the mount whose lists are gone, except the one of -D', false)
    .action(async (mount: string, options: CleanupOptions) => {
      const { imagesDir, all, json } = options;
      const done = all ? cleanUpAll(resolve(imagesDir), mount) : await cleanUp(resolve(imagesDir), mount);
      if (json) printJson(done);
      else showCleanedUp(done);
    });
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
  takeOtherCommands(program);
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
  { imagesDir, json, hold, relink, template }: PrepareOptions,
): Promise<void> {
  if (template !== undefined && !relink) throw new CfsError('usage', '--template is for --relink');
  const naming = relink ? parseTemplate(template ?? DEFAULT_TEMPLATE) : undefined;
  const prepared = await prepare(mount, pids, resolve(imagesDir), { hold, relink: naming, warn });
  if (json) {
    printJson(prepared);
    return;
  }
  const { mountpoint, processes, files, watched, unlinked, relinked, linkable, holder, sourceList } = prepared;
  process.stdout.write(
    `process${processes.length === 1 ? '' : 'es'} ${processes.join(' ')}: ${formatCounted(files, 'file')} of ${mountpoint} in use, ${watched} of them watched\n` +
      (unlinked === 0
        ? ''
        : `${formatCounted(unlinked, 'is', 'are')} unlinked: ${relink ? `${formatCounted(relinked, 'has a new name', 'have new names')}` : `${formatCounted(linkable, 'is linkable', 'are linkable')}`}\n`) +
      (holder === undefined ? '' : `process ${holder} holds their names until the dumped processes end\n`) +
      `saved ${sourceList}: after the dump 'umount ${mountpoint}', before the restore 'cfs-mount --from ${imagesDir}'\n`,
  );
}

async function restoreFiles(
  mount: string,
  command: readonly string[],
  { imagesDir, json, socket }: RestoreOptions,
): Promise<ExitStatus> {
  if ((socket === undefined) === (command.length === 0)) {
    throw new CfsError('usage', 'Give either a command after --, or --socket');
  }
  const opened = openRelinked(resolve(imagesDir), mount);
  const { length } = opened.files;
  if (socket === undefined) return (await restoreToCommand(opened, command)) as ExitStatus;
  restoreToSocket(opened, resolve(socket));
  if (json) printJson({ files: length });
  else process.stdout.write(`${formatCounted(length, 'file')} sent, and unlinked\n`);
  return EXIT.ok;
}

function showCleanedUp({ removed, kept }: CleanedUp): void {
  for (const { id, directory } of kept) {
    process.stdout.write(`${oneLine(`checkpoint ${id} is alive: its list is in ${directory}`)}\n`);
  }
  process.stdout.write(`${formatCounted(removed.length, 'name')} removed\n`);
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
