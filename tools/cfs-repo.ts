#!/usr/bin/env node
/** cfs-repo: makes, describes, checks, cleans and seals repositories. */
import { Option } from 'commander';
import { HASH_ALGORITHMS, type HashAlgorithm } from '../src/base/digest.ts';
import { CfsError, reasonOf } from '../src/base/error.ts';
import type { LocalRepository } from '../src/store/local-repository.ts';
import { initRepository } from '../src/store/open-repository.ts';
import { sharedMode } from '../src/store/sharing.ts';
import { isRegular } from '../src/store/store-directory.ts';
import { configured } from '../src/system/config-files.ts';
import { EXIT, type ExitStatus, makeCommand, prepareCommands, printJson, runTool } from './cli.ts';
import { formatBytes, formatCount, formatCounted } from './format.ts';
import { printResult, takeQuiet } from './quiet.ts';
import { addCache } from './repo/cache.ts';
import { addCopy } from './repo/copy.ts';
import { addDf } from './repo/df.ts';
import { addFsck } from './repo/fsck.ts';
import { addGc } from './repo/gc.ts';
import { addImages } from './repo/images.ts';
import { addPrune } from './repo/prune.ts';
import { addRemote } from './repo/remote.ts';
import { addReport } from './repo/report.ts';
import { type Commands, checkDirectoryArgument, repositoryAt } from './repo/repository.ts';
import { addSeal } from './repo/seal.ts';
import { addStream } from './repo/stream.ts';
import { addSync } from './repo/sync.ts';

const command = makeCommand(
  'cfs-repo',
  'Makes, describes, checks, cleans and seals repositories: directories that hold the objects of images.',
  `  cfs-repo init /srv/store
  cfs-repo init --hash fsverity-sha256 /srv/verity-store
  cfs-repo init --shared /srv/team-store
  cfs-repo stat /srv/store
  cfs-repo df /srv/store
  cfs-repo fsck /srv/store
  cfs-repo fsck --repair-from /mnt/nfs/store /srv/store
  cfs-repo copy --from /srv/store /srv/copy rootfs.cfs
  cfs-repo export /srv/store rootfs.cfs > rootfs.export
  cfs-repo import -C /srv /srv/imported < rootfs.export
  cfs-repo push /srv/store rootfs.cfs /srv/www/images
  cfs-repo pull https://example.org/images#rootfs /srv/pulled
  cfs-repo sync https://example.org/images#rootfs /srv/mirror
  cfs-repo fsck --repair-from https://example.org/images /srv/store
  cfs-repo prune --dry-run /srv/www/images
  cfs-repo cache
  cfs-repo cache --trim 20G --dry-run
  cfs-repo cache --pin rootfs.cfs /srv/cache
  cfs-repo report -o report.html /srv/store
  cfs-repo images /srv/store
  cfs-repo register /srv/store rootfs.cfs
  cfs-repo unregister /srv/store old.cfs && cfs-repo gc --dry-run /srv/store
  cfs-repo gc --min-age 1d --keep rootfs.cfs /srv/store
  cfs-repo seal --image rootfs.cfs /srv/verity-store
`,
);

command
  .command('init')
  .description('create a repository in DIR, which is missing or empty')
  .argument('<DIR>')
  .addOption(
    new Option('--hash <NAME>', 'how objects are named (default: blake3, or hash of cfs.conf(5))')
      .choices(HASH_ALGORITHMS)
      .argParser(String), // an unknown name is reported below
  )
  .option(
    '--shared [=WHO]',
    'make it writable by several users: group (the default), all (others may read), or the mode of its files, such as 0660',
  )
  .option('--json', 'print the result as one JSON object', false)
  .action((dir: string, { hash: named, ...options }: { hash?: string; json: boolean; shared?: string }) => {
    checkDirectoryArgument(dir);
    const hashName = named ?? configured('hash')?.value ?? 'blake3';
    const mode = options.shared === undefined ? undefined : sharedMode(options.shared);
    if (options.shared !== undefined && mode === undefined) {
      throw new CfsError(
        'usage',
        `--shared takes group, all, or a mode that lets owner and group read and write and others not write, such as 0660, not "${options.shared}"`,
      );
    }
    if (!HASH_ALGORITHMS.includes(hashName as HashAlgorithm)) {
      throw new CfsError('usage', `--hash takes ${HASH_ALGORITHMS.join(' or ')}, not "${hashName}"`);
    }
    const { path, uuid, hash } = initRepository(dir, hashName as HashAlgorithm, mode);
    if (options.json) printJson({ path, uuid, hash });
    else printResult(`created repository ${path} (${hash}, uuid ${uuid})\n`);
  });

command
  .command('stat')
  .description('count the objects of a repository')
  .argument('<DIR>')
  .option('--json', 'print the result as one JSON object', false)
  .action((dir: string, options: { json: boolean }) => {
    const repository = repositoryAt(dir);
    const { path, uuid, hash } = repository;
    const counts = countObjects(repository);
    if (options.json) printJson({ path, uuid, hash, ...counts });
    else {
      process.stdout.write(
        [
          `repository  ${path}`,
          `uuid        ${uuid}`,
          `hash        ${hash}`,
          `objects     ${formatCount(counts.objects)} (${formatBytes(counts.bytes)}, ${formatBytes(counts.allocatedBytes)} on disk)`,
          `unfinished  ${formatCounted(counts.temporaries, 'file')} in tmp/`,
          '',
        ].join('\n'),
      );
    }
  });

let status: ExitStatus = EXIT.ok;
const commands: Commands = {
  program: command,
  setStatus: (result) => {
    status = result;
  },
};
addCache(commands);
addCopy(commands);
addDf(commands);
addFsck(commands);
addGc(commands);
addImages(commands);
addPrune(commands);
addRemote(commands);
addReport(commands);
addSeal(commands);
addStream(commands);
addSync(commands);

/** Commands that change something; and fsck, which then reports only problems. */
const QUIET = [
  'init',
  'push',
  'pull',
  'sync',
  'copy',
  'fsck',
  'gc',
  'prune',
  'cache',
  'register',
  'unregister',
  'seal',
  'import',
];
for (const known of command.commands) if (QUIET.includes(known.name())) takeQuiet(known);

interface ObjectCounts {
  readonly objects: number;
  readonly bytes: number;
  readonly allocatedBytes: number;
  readonly temporaries: number;
}

function countObjects(repository: LocalRepository): ObjectCounts {
  try {
    return countFiles(repository);
  } catch (error) {
    if (error instanceof CfsError) throw error;
    throw new CfsError('store', `Cannot count the objects of repository ${repository.path}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function countFiles(repository: LocalRepository): ObjectCounts {
  let objects = 0;
  let bytes = 0;
  let allocatedBytes = 0;
  const namesIn = (name: string): readonly string[] => {
    const directory = repository.directory(name);
    try {
      return directory.names();
    } finally {
      directory.close();
    }
  };
  for (const prefix of namesIn('objects')) {
    repository.within(`objects/${prefix}`, (directory) => {
      for (const name of directory.names()) {
        const stat = directory.stat(name);
        if (stat === undefined || !isRegular(stat)) continue; // deleted in the meantime, or not an object
        objects++;
        bytes += stat.size;
        allocatedBytes += stat.blocks * 512;
      }
    });
  }
  return { objects, bytes, allocatedBytes, temporaries: namesIn('tmp').length };
}

async function main(argv: readonly string[]): Promise<ExitStatus> {
  if (argv.length < 3) {
    const names = command.commands.map((known) => known.name()).join(', ');
    throw new CfsError('usage', `a command is missing: ${names}. 'cfs-repo --help' shows how.`);
  }
  prepareCommands(command, argv);
  // its value is optional, and must not be taken from the next argument: that is DIR
  await command.parseAsync(argv.map((word) => (word === '--shared' ? '--shared=group' : word)));
  return status;
}

await runTool('cfs-repo', main);
