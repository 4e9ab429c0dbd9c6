/** The command line of cfs-mount. */
import { closeSync, existsSync, openSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option } from 'commander';
import { oneLine } from '../../src/base/bytes.ts';
import { CfsError, type ErrorKind, reasonOf } from '../../src/base/error.ts';
import { pathBytes, pathText } from '../../src/base/path-text.ts';
import type { StartingDaemon } from '../../src/mount/daemon.ts';
import {
  findImage,
  findLayer,
  findRepositories,
  readSavedSources,
  requireOneFileSystem,
} from '../../src/mount/find-sources.ts';
import { escapedValue, splitList } from '../../src/mount/option-list.ts';
import { formatMountWords, type MountWords, parseMountWords } from '../../src/mount/option-words.ts';
import type { MountSettings, RemoteOptions } from '../../src/mount/options.ts';
import type { SessionHost } from '../../src/mount/session.ts';
import { MOST_OPTIONS } from '../../src/mount-info/mount-record.ts';
import type { SavedSources } from '../../src/mount-info/saved-sources.ts';
import { isRemote } from '../../src/remote/remote-url.ts';
import { readTrustedKeys } from '../../src/sign/key-file.ts';
import { defaultRepositories } from '../../src/store/default-store.ts';
import { hasJournal } from '../../src/system/journal.ts';
import { requireProc } from '../../src/system/proc.ts';
import { EXIT, type ExitStatus, ignoreStdoutErrors, makeCommand, printError, printJson, runTool } from '../cli.ts';
import { textOf } from '../hint-words.ts';
import { say, takeVerbose } from '../verbose.ts';
import { withDefaultCache, withDefaultKeys, withDefaultUrls } from './default-words.ts';

interface Options {
  repo: readonly string[];
  /** The same option as in cfs-mkimage. */
  readonly store: readonly string[];
  readonly from?: string;
  readonly upgrade: boolean;
  readonly rebase?: string;
  o: readonly string[];
  readonly foreground: boolean;
  readonly log?: string;
  readonly json: boolean;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const command = makeCommand(
  'cfs-mount',
  'Mounts the image IMAGE on the directory MOUNTPOINT: read-only, or with an upper layer for changes. umount(8) ends it.',
  `  cfs-mount rootfs.cfs /mnt
  cfs-mount --repo /srv/store --repo /mnt/nfs/store rootfs.cfs /mnt
  cfs-mount --repo https://example.org/images rootfs.cfs /mnt
  cfs-mount 'https://example.org/images#rootfs' /mnt
  cfs-mount -o digest=$ID,suid,dev rootfs.cfs /mnt
  cfs-mount -o upperdir=/srv/changes,workdir=/srv/work rootfs.cfs /mnt
  cfs-info sources --json /mnt > sources.json; umount /mnt; cfs-mount --from sources.json
  cfs-mount --upgrade /mnt
  cfs-mkimage /mnt new.cfs; cfs-mount --rebase new.cfs /mnt
  unshare --user --map-root-user --mount sh -c 'cfs-mount rootfs.cfs /mnt; ls /mnt; umount /mnt'

Mount options:
  digest=ID             the image must have this id, or fsverity-sha256:DIGEST
  require-complete      refuse an image if no repository has one of its objects
  require-signature,key=PUB.pem  the image must be signed by this key, or by one of several;
                        without key= by one of those of cfs.conf
  verify=auto|open|read|fsverity|off  use the fs-verity seal of each object, and hash objects without
                        one (default); hash each object as a whole at its first open; check each block
                        as it is read; use seals alone, and refuse other objects; or verify nothing
  driver=kernel|fuse-native  talk to the kernel directly (default), or through libfuse
  threads=N             threads that serve requests (default 2)
  repo=DIR, basedir=DIR[:DIR…]  repositories, searched after those of --repo
  repo=URL              a repository on the network: objects are fetched when they are opened first,
                        if no local repository has them; mirrors have | between them
  cache=DIR             where these objects are kept (default: cache of cfs.conf, /var/cache/cfs,
                        or ~/.cache/cfs)
  cache-size=N[K|M|G|T]  delete the objects there that are used least, above this size
  cache-min-free=N[K|M|G|T|%]  delete them, too, if less than this is free on the disk
  prefetch=off|hot|all  fetch in the background, before someone opens them: nothing; the objects that
                        programs open first, if the repository lists some (default); or all
  record=FILE           write the paths of files to FILE in the order in which they are opened first, for
                        cfs-repo push --profile
  insecure, cacert=FILE  permit http to other machines; trust these certificates, too
  allow_other, noallow_other  accessible to all users (default for root), or only to this one
  suid, dev             honour setuid files, devices (default: nosuid, nodev)
  noexec                run no programs (default: exec)
  uuid=on|off           with --from: repositories must have the uuids of the list (default), or
                        need not, if all are on one file system, as on a copied disk
  upperdir=DIR,workdir=DIR  the mount can be written: changes are kept in upperdir, in the format of
                        overlayfs; workdir, on the same file system, is for incomplete files
  volatile, userxattr, redirect_dir=, metacopy=, index=, uuid=  of the upper layer, as in overlayfs;
                        xino= is accepted, and has no effect
  restart=on|off        start another server if this one dies (default: on)
  debug                 log one line for each request, with its answer and time
  inode32               32-bit inode numbers, for programs without large-file support
  nooverlayxattr        hide trusted.overlay.* and user.overlay.* of the image
  noatime, nonempty, fsname=NAME, and the options that fstab and mount(8) add
`,
)
  .argument('[IMAGE]', 'an image made by cfs-mkimage, or URL#NAME or URL@ID of one in a remote repository')
  .argument('[MOUNTPOINT]', 'an empty directory')
  .usage(
    '[options] IMAGE MOUNTPOINT\n       cfs-mount [options] --from FILE [[IMAGE] MOUNTPOINT]\n       cfs-mount --upgrade MOUNTPOINT\n       cfs-mount --rebase IMAGE MOUNTPOINT',
  )
  .option(
    '--repo <DIR>',
    'a repository with objects, or the URL of one; repeatable, searched in this order (default: those of cfs.conf, or the default repository)',
    collect,
    [],
  )
  .addOption(new Option('--store <DIR>', 'the same as --repo').argParser(collect).default([]).hideHelp())
  .option(
    '--from <FILE>',
    'repeat a mount: take image, repositories and options from a list of cfs-info sources or cfs-checkpoint',
  )
  .option('--upgrade', 'hand the mount at MOUNTPOINT to the installed version', false)
  .option(
    '--rebase <IMAGE>',
    'go on over IMAGE, which was made of the mount at MOUNTPOINT: what it has leaves the upper layer',
  )
  .option('-o <OPTIONS>', 'mount options, separated by commas; repeatable', collect, [])
  .option('-f, --foreground', 'stay in the foreground until the mount ends; log to stderr', false)
  .option('--log <FILE>', 'append the log to FILE (default: stderr with -f, else the journal or syslog)')
  .option('--json', 'print a description of the mount as one JSON object', false);
takeVerbose(command);

const MOUNT_KINDS: readonly ErrorKind[] = ['mount', 'image', 'store'];

async function main(argv: readonly string[], daemon: StartingDaemon | undefined): Promise<ExitStatus> {
  command.parse(argv);
  const options = command.opts<Options>();
  const repositories = [...options.repo, ...options.store];
  options.repo = repositories.filter((word) => !isRemote(word));
  // as options, these are recorded and repeated
  options.o = [...repositories.filter(isRemote).map((word) => `repo=${escapedValue(word)}`), ...options.o];
  if (options.repo.includes('')) throw new CfsError('usage', '--repo needs a directory');
  requireProc();
  if (options.upgrade || options.rebase !== undefined) {
    const { rebaseMount, upgradeMount } = await import('./living-mount.ts');
    if (options.rebase === undefined || options.upgrade) return upgradeMount(command.args, options);
    return rebaseMount(options.rebase, command.args, options);
  }
  const logFile = options.log === undefined ? undefined : resolve(options.log);
  if (logFile !== undefined) checkLog(logFile);
  const planned = async (): Promise<Plan> => {
    const plan = options.from === undefined ? await planOf(command.args, options) : savedPlan(options.from, options);
    sayPlan(plan);
    return plan;
  };
  if (options.foreground) return foreground(planned, logFile, options.json);
  const plan = await planned();
  const starting = daemon ?? new (await import('../../src/mount/daemon.ts')).StartingDaemon(argv.slice(2));
  const summary = await starting.mount({ ...settingsOf(plan), ...(logFile === undefined ? {} : { logFile }) });
  const log = logFile ?? (existsSync(SYSLOG) || hasJournal() ? 'syslog' : null);
  say(
    () =>
      `process ${summary.pid} serves image ${summary.id}: ${summary.inodes} inodes, ${summary.objects} objects, ` +
      `${summary.passthrough ? 'the kernel reads them by itself' : 'no passthrough'}; its log is ${log ?? 'nowhere'}`,
  );
  for (const path of summary.readByBlocks) say(() => `objects of ${path} are verified block by block`);
  if (summary.otherImages !== undefined && summary.otherImages.length > 0 && !options.json) {
    const { hintOfOther, messageOfOther } = await import('../../src/mount/other-images.ts');
    for (const other of summary.otherImages) {
      const { image } = plan.settings;
      printError(
        'cfs-mount',
        textOf({ message: messageOfOther(other, image, summary.id), hint: hintOfOther(other, image) }),
      );
    }
  }
  if (summary.sample !== undefined && summary.sample.missing > 0 && !options.json) {
    const { warningOf } = await import('../../src/mount/object-sample.ts');
    const { image, repositories } = plan.settings;
    const words = ['cfs-info missing', ...repositories.map((dir) => `--repo ${dir}`), image].join(' ');
    process.stderr.write(`${oneLine(`cfs-mount: ${warningOf(summary.sample)}. '${words}' lists them.`)}\n`);
  }
  if (options.json) printJson({ ...summary, log });
  else if (log === null) {
    process.stderr.write(
      `cfs-mount: neither a journal nor syslog is here: problems of this mount are not logged. Use --log FILE for a log; 'cfs-info log ${summary.mountpoint}' shows the last 100.\n`,
    );
  }
  return EXIT.ok;
}

function sayPlan({ settings: { image, mountpoint, repositories, words } }: Plan): void {
  say(() => `image ${image} on ${mountpoint}, with -o ${words}`);
  for (const [i, path] of repositories.entries()) say(() => `repository ${i + 1}: ${path}`);
}

/** The destination of syslog(3), which reports nothing if nothing listens there. */
const SYSLOG = '/dev/log';

type Settings = MountSettings;

/** Settings whose keys have not been read yet. */
interface Plan {
  readonly settings: Omit<Settings, 'trustedKeys'>;
  readonly keys: readonly string[];
}

/** @throws CfsError (usage) if a key cannot be read */
const settingsOf = ({ settings, keys }: Plan): Settings =>
  keys.length === 0 ? settings : { ...settings, trustedKeys: readTrustedKeys(keys) };

async function planOf(args: readonly string[], options: Options): Promise<Plan> {
  const [image = '', mountpoint = ''] = args;
  for (const [i, what] of ['IMAGE', 'MOUNTPOINT'].entries()) {
    if (args[i] === undefined) command.error(`error: ${what} is missing`);
    if (args[i] === '') throw new CfsError('usage', `${what} is empty`);
  }
  if (areSwapped(image, mountpoint)) {
    throw new CfsError('usage', 'IMAGE and MOUNTPOINT are swapped: the image, a file, comes first');
  }
  if (isRemote(image)) return remotePlan(image, mountpoint, options);
  const isNamed =
    options.repo.length > 0 || options.o.flatMap(splitList).some((word) => /^(?:repo|basedir)=/.test(word));
  const defaults = isNamed ? [] : defaultRepositories();
  const words = parseMountWords(withDefaultCache(withDefaultKeys(withDefaultUrls(options.o, defaults))));
  const locals = defaults.filter((word) => !isRemote(word));
  return complete(words, { image, mountpoint, repositories: [...options.repo, ...words.repositories, ...locals] });
}

/** Of an image that a URL names: its repository is the first one on the network that is asked for objects. */
async function remotePlan(url: string, mountpoint: string, options: Options): Promise<Plan> {
  const { fetchImage, repositoryOf } = await import('../../src/transfer/cached-image.ts');
  const words = parseMountWords(
    withDefaultCache(withDefaultKeys([`repo=${escapedValue(repositoryOf(url))}`, ...options.o])),
  );
  const image = await fetchImage(url, words.remote as RemoteOptions, readTrustedKeys(words.keys));
  say(() => `${url} is image ${image.id}`);
  const repositories = [...options.repo, ...words.repositories];
  // a digest that was given is compared with the image as always
  return complete({ ...words, digest: words.digest ?? image.id }, { image: image.path, mountpoint, repositories });
}

/** A directory, and then a file. */
function areSwapped(image: string, mountpoint: string): boolean {
  try {
    return statSync(image).isDirectory() && statSync(mountpoint).isFile();
  } catch {
    return false; // the next operation on them reports the problem
  }
}

/** The settings of a saved list. Options beside it take precedence; another image need not have the saved id. */
function savedPlan(from: string, options: Options): Plan {
  const [mountpoint, image, ...more] = command.args.toReversed();
  if (more.length > 0 || command.args.includes('')) {
    throw new CfsError('usage', '--from takes no other arguments, or MOUNTPOINT, or IMAGE and MOUNTPOINT');
  }
  const saved = readSavedSources(from);
  const words = parseMountWords(withDefaultKeys(options.o, saved.options), saved.options);
  const isNamed = options.o.flatMap(splitList).some((word) => word.startsWith('repo='));
  if (options.repo.length + words.repositories.length > 0 || isNamed) {
    throw new CfsError('usage', '--from names the repositories: do not name others, or mount without it');
  }
  if (image !== undefined && isRemote(image)) {
    throw new CfsError('usage', `--from takes an image file, not ${image}: mount that without it`);
  }
  const { uuid, digest = saved.image.id } = words;
  const layered = withSavedLayer(words, saved, from, options.o);
  return complete(image === undefined ? { ...layered, digest } : layered, {
    image: image ?? findImage(saved.image, digest, uuid),
    mountpoint: mountpoint ?? pathText(saved.mountpoint),
    repositories: findRepositories(withoutCache(saved, words), from, uuid),
  });
}

/** The cache is the last repository of a mount. It is made again if it is gone. */
const withoutCache = (saved: SavedSources, { remote }: MountWords): SavedSources =>
  remote === undefined ? saved : { ...saved, repositories: saved.repositories.slice(0, -1) };

/** The directories of the upper layer at their current paths, unless others are given. */
function withSavedLayer(
  words: MountWords,
  { layer }: SavedSources,
  from: string,
  lists: readonly string[],
): MountWords {
  const isGiven = lists.flatMap(splitList).some((word) => word.startsWith('upperdir='));
  if (words.upper === undefined || layer === undefined || isGiven) return words;
  return { ...words, upper: { ...words.upper, ...findLayer(layer, from, words.uuid) } };
}

/** As given on the command line. */
interface Sources {
  readonly image: string;
  readonly mountpoint: string;
  readonly repositories: readonly string[];
}

function complete(mountWords: MountWords, given: Sources): Plan {
  const { uuid, keys, ...words } = mountWords;
  const repositories = given.repositories.map((dir) => resolve(dir));
  if (uuid === 'off') requireOneFileSystem(repositories);
  const settings = {
    ...words,
    image: resolve(given.image),
    mountpoint: resolve(given.mountpoint),
    repositories,
    given: { image: given.image, repositories: given.repositories },
    words: recordedWords(mountWords),
  };
  return { settings, keys };
}

/** The options that a repeated mount must have: one that does not fit would be silently lost. */
function recordedWords(mountWords: MountWords): string {
  const words = formatMountWords(mountWords);
  const bytes = pathBytes(words).length;
  if (bytes <= MOST_OPTIONS) return words;
  throw new CfsError(
    'usage',
    `the mount options have ${bytes} bytes, and a mount can store ${MOST_OPTIONS}: use shorter or fewer paths of keys`,
  );
}

/**
 * @param planned the settings of a mount: not evaluated if an existing mount is to be served, which does not need the
 * sources at their paths
 */
async function foreground(
  planned: () => Promise<Plan>,
  logFile: string | undefined,
  json: boolean,
): Promise<ExitStatus> {
  const [session, { loggedMount, makeLog }, { summaryOf }, service, { unpark }] = await Promise.all([
    import('../../src/mount/session.ts'),
    import('../../src/mount/process-log.ts'),
    import('../../src/mount/mounted-image.ts'),
    import('../../src/survival/service-manager.ts'),
    import('../../src/survival/parking.ts'),
  ]);
  // filled when the mount is known
  const about = loggedMount({ mountpoint: '', image: '', repositories: [] });
  const log = makeLog(logFile ?? 'stderr', about);
  const host: SessionHost = {
    log,
    // a service manager that keeps the parked files starts this again
    succeed: (ends, { mountpoint }, isNew) => {
      if (isNew && !service.storeParked(ends)) {
        log(
          `${mountpoint}: the service manager does not store the descriptors of this mount: the mount ends if this server dies`,
        );
      }
      const dismiss = (): void => {
        unpark(ends[1]);
        service.forgetParked();
      };
      return { dismiss };
    },
    report: (mounted) => {
      about.id = mounted.id;
      service.notifyReady(mounted.mountpoint);
      ignoreStdoutErrors();
      if (json) printJson(summaryOf(mounted));
      return true;
    },
  };
  const ends = service.storedEnds();
  // nothing is parked there if the mount had ended before the server was killed
  const left = ends && session.leftMount(ends);
  if (left !== undefined) {
    Object.assign(about, loggedMount(left.mount.settings, left.mount.sources));
    // with its original settings, not those of the command line: keys, for example, were checked then
    await session.resumeSession(left, host);
    return EXIT.ok;
  }
  const settings = settingsOf(await planned());
  Object.assign(about, loggedMount(settings));
  // a leftover of an earlier start without parked files: it would stay forever
  if (service.isService()) (await import('../../src/mount/dead-mount.ts')).detachDead(settings.mountpoint, log);
  await session.runSession({ ...settings, restart: settings.restart && service.isService() }, host);
  return EXIT.ok;
}

/** Reports a log that cannot be written now, not at the first message. */
function checkLog(path: string): void {
  try {
    closeSync(openSync(path, 'a'));
  } catch (error) {
    throw new CfsError('usage', `Cannot write the log ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/**
 * Runs the tool.
 * @param daemon one that waits for its settings; undefined if none was started
 */
export async function runMount(daemon: StartingDaemon | undefined): Promise<void> {
  await runTool('cfs-mount', (argv) => main(argv, daemon), MOUNT_KINDS);
  daemon?.cancel();
}
