/** The commands of cfs-info that look at mounts of this machine. */
import { type Command, Option } from 'commander';
import { CfsError } from '../../src/base/error.ts';
import { EXIT, type ExitStatus, integerOption, secondsOption } from '../cli.ts';
import { type ChangesOptions, showChanges } from './changes.ts';
import { showLog } from './log.ts';
import { showMounts } from './mounts.ts';
import type { Output } from './output.ts';
import { snapshot } from './snapshot.ts';
import { showSources } from './sources.ts';
import { showStats } from './stats.ts';
import { showWhere } from './where.ts';

const CHANGES_HELP = `
Lines as 'cfs-info diff' prints them, with renames as they were made. The last one is "T TOKEN".
"content" can also mean that a file was opened for writing and has the same bytes. With --since:
  entries   names in the directory may have come and gone: compare the listings
  tree      the directory was moved to this place, with all that is below it
docs/changes.md has the details.`;

const SNAPSHOT_HELP = `
Makes DIRECTORY/upper and DIRECTORY/work, and prints the options of a mount with them. Blocks are shared where the file
system can (reflinks). If files change meanwhile, it is tried again up to four times.`;

/** Seconds; the mount is watched for a minute after each look. */
const LEAST_INTERVAL = 0.1;
const MOST_INTERVAL = 30;

const TOP_HELP = `
On a terminal it fills the screen, and q ends it. Otherwise it prints a line each time; with --json, one object a line.
Without MOUNT it watches the only mount of this machine. "hits" are opens that no repository was needed for. Files that
are opened and times of requests are counted only while someone watches.`;

interface StatsWords {
  readonly prometheus?: true;
  readonly all?: true;
}

interface TopWords {
  readonly interval: number;
  readonly count?: number;
}

interface JsonOption {
  readonly json?: true;
}

/** @param add makes a command with the option --json */
export function addMountCommands(
  add: (usage: string, description: string) => Command,
  out: Output,
  setStatus: (status: ExitStatus) => void,
): void {
  add('mounts', 'list the mounts of this machine: image, repositories, options, daemon').action(
    ({ json }: JsonOption) => showMounts(json === true, out),
  );

  add('sources <mount>', 'show where the bytes of a mount come from now; with --json for cfs-mount --from').action(
    (mount: string, { json }: JsonOption) => showSources(mount, json === true, out),
  );

  add(
    'log <mount>',
    'show the last 100 problems of a mount since its server started: the object, the repository and the reason',
  ).action((mount: string, { json }: JsonOption) => showLog(mount, json === true, out));

  add(
    'changes <mount>',
    `list the changes that a writable mount made to its image; exit status ${EXIT.found} if there are any`,
  )
    .option('--since <token>', 'only changes since the call that printed this token')
    .addOption(
      new Option('-0, --null', 'letter, changes, old path, new path, unescaped, each ended by NUL').conflicts('json'),
    )
    .addHelpText('after', CHANGES_HELP)
    .action((mount: string, { since, null: raw = false, json = false }: Partial<ChangesOptions>) => {
      setStatus(showChanges(mount, { ...(since === undefined ? {} : { since }), null: raw, json }, out));
    });

  add('snapshot <mount> <directory>', 'copy the upper layer of a writable mount, consistent, so that it can be mounted')
    .addHelpText('after', SNAPSHOT_HELP)
    .action((mount: string, directory: string, { json }: JsonOption) => snapshot(mount, directory, json === true, out));

  add('stats [mount]', 'show statistics of a mount since its server started: requests, errors, repositories')
    .addOption(new Option('--prometheus', 'in the text format of Prometheus').conflicts('json'))
    .addOption(new Option('--all', 'with --prometheus: of all mounts of this machine').conflicts('json'))
    .action(async (mount: string | undefined, { json, prometheus, all }: JsonOption & StatsWords) => {
      if (all === true) {
        if (mount !== undefined || prometheus !== true) {
          throw new CfsError('usage', '--all is for --prometheus, and takes no MOUNT');
        }
        const { showAllStats } = await import('./all-stats.ts');
        await showAllStats(out);
        return;
      }
      if (mount === undefined) throw new CfsError('usage', 'MOUNT is missing');
      showStats(mount, json === true ? 'json' : prometheus === true ? 'prometheus' : 'text', out);
    });

  add('top [mount]', 'watch a mount at work: requests, their times, repositories, files that are opened, problems')
    .addOption(
      new Option('--interval <seconds>', 'how often')
        .argParser(secondsOption('--interval', LEAST_INTERVAL, MOST_INTERVAL))
        .default(1),
    )
    .option('--count <N>', 'end after so many reports', integerOption('--count', 1, Number.MAX_SAFE_INTEGER))
    .addHelpText('after', TOP_HELP)
    .action(async (mount: string | undefined, { interval, count, json }: JsonOption & TopWords) => {
      const { showTop } = await import('./top.ts');
      await showTop(mount, { interval: interval * 1_000, count: count ?? Infinity, json: json === true }, out);
    });

  add(
    'where <path...>',
    'show where the content of each file of a mount is: object, repositories, verified or not',
  ).action((paths: string[], { json }: JsonOption) => setStatus(showWhere(paths, json === true, out)));
}
