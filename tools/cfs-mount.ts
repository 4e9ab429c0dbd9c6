#!/usr/bin/env node
/** cfs-mount: mounts an image. */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, closeSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { CfsError, type ErrorKind } from '../src/error.ts';
import { type MountedImage, mountImage } from '../src/mount.ts';
import { defaultStore } from '../src/store/location.ts';
import { dup2, LOG_WARNING, syslog } from '../src/syscall.ts';
import { EXIT, type ExitStatus, makeCommand, printJson, runTool } from './cli.ts';
import { type MountWords, parseMountWords } from './mount-options.ts';

interface Options {
  readonly repo: readonly string[];
  readonly o: readonly string[];
  readonly foreground: boolean;
  readonly log?: string;
  readonly json: boolean;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

const command = makeCommand(
  'cfs-mount',
  'Mounts the image IMAGE on the directory MOUNTPOINT, read-only. umount(8) ends it.',
  `  cfs-mount rootfs.cfs /mnt
  cfs-mount --repo /srv/store --repo /mnt/nfs/store rootfs.cfs /mnt
  cfs-mount -o digest=$ID,verify=open,suid,dev rootfs.cfs /mnt
  unshare --user --map-root-user --mount sh -c 'cfs-mount rootfs.cfs /mnt && ls /mnt'

Mount options:
  digest=ID             the image must have this id
  verify=open|off       hash each object at its first open (default), or never
  driver=kernel|fuse-native  talk to the kernel directly (default), or through libfuse
  threads=N             threads that serve requests (default 2)
  basedir=DIR[:DIR…]    repositories, as mount.composefs names them; the same as --repo
  allow_other, noallow_other  for everybody (default for root), or for this user alone
  suid, dev, noexec     honour setuid files and devices (default: not), run no programs
  noatime, nonempty, fsname=NAME, and what fstab and mount(8) add
`,
)
  .argument('<IMAGE>', 'an image made by cfs-mkimage')
  .argument('<MOUNTPOINT>', 'an empty directory')
  .option(
    '--repo <DIR>',
    'where objects are; repeatable, asked in this order (default: the default store)',
    collect,
    [],
  )
  .option('-o <OPTIONS>', 'mount options, separated by commas; repeatable', collect, [])
  .option('-f, --foreground', 'stay in the foreground until the mount ends; log to stderr', false)
  .option('--log <FILE>', 'append the log to FILE (default: stderr with -f, else syslog)')
  .option('--json', 'print what was mounted as one JSON object', false);

/** In the environment of the daemon: the descriptor on which it says that the mount answers, or why not. */
const READY_FD = 'CFS_READY_FD';
const MOUNT_KINDS: readonly ErrorKind[] = ['mount', 'image', 'store'];

type Ready = { readonly mounted: Summary } | { readonly error: { readonly kind: ErrorKind; readonly message: string } };
type Summary = Omit<MountedImage, 'unmount' | 'ended'> & { readonly pid: number };

async function main(argv: readonly string[]): Promise<ExitStatus> {
  command.parse(argv);
  const [image, mountpoint] = command.args as [string, string];
  const options = command.opts<Options>();
  const words = parseMountWords(options.o);
  const readyFd = process.env[READY_FD];
  if (readyFd !== undefined) return daemon(image, mountpoint, options, words, Number(readyFd));
  if (!options.foreground) return startDaemon(argv, options);
  const mounted = await start(image, mountpoint, options, words);
  if (options.json) printJson(summaryOf(mounted));
  await serveUntilEnd(mounted);
  return EXIT.ok;
}

function start(image: string, mountpoint: string, options: Options, words: MountWords): Promise<MountedImage> {
  const given = [...options.repo, ...words.repositories];
  const repositories = (given.length > 0 ? given : [defaultStore()]).map((dir) => resolve(dir));
  return mountImage({ ...words, image, mountpoint, repositories, log: logger(options) });
}

function logger(options: Options): (line: string) => void {
  const stamped = (line: string): string => `${new Date().toISOString()} cfs-mount[${process.pid}]: ${line}\n`;
  const { log } = options;
  if (log !== undefined) {
    const path = resolve(log);
    return (line) => appendFileSync(path, stamped(line));
  }
  if (options.foreground) return (line) => void process.stderr.write(stamped(line));
  return (line) => syslog(LOG_WARNING, `cfs-mount[${process.pid}]: ${line}`);
}

function summaryOf(mounted: MountedImage): Summary {
  const { unmount: _unmount, ended: _ended, ...summary } = mounted;
  return { ...summary, pid: process.pid };
}

/** Serves until somebody unmounts; a signal unmounts, a second one gives up waiting for who still uses the mount. */
async function serveUntilEnd(mounted: MountedImage): Promise<void> {
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (++signals > 1) process.exit(EXIT.system);
    mounted.unmount().catch((error: unknown) => {
      process.stderr.write(`cfs-mount: ${signal}: cannot unmount: ${String(error)}\n`);
    });
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  await mounted.ended;
}

/** The child: mounts, says so, and serves. */
async function daemon(
  image: string,
  mountpoint: string,
  options: Options,
  words: MountWords,
  readyFd: number,
): Promise<ExitStatus> {
  delete process.env[READY_FD];
  const tell = (ready: Ready): void => {
    writeSync(readyFd, `${JSON.stringify(ready)}\n`);
    closeSync(readyFd);
  };
  let mounted: MountedImage;
  try {
    mounted = await start(image, mountpoint, options, words);
  } catch (error) {
    if (!(error instanceof CfsError)) throw error;
    tell({ error: { kind: error.kind, message: error.message } });
    return EXIT.mount;
  }
  leaveTerminal();
  tell({ mounted: summaryOf(mounted) });
  await serveUntilEnd(mounted);
  return EXIT.ok;
}

/** A daemon keeps no directory busy, and no terminal or pipe of its starter open. */
function leaveTerminal(): void {
  process.chdir('/');
  const fd = openSync('/dev/null', 'w');
  dup2(fd, STDERR);
  closeSync(fd);
}
const STDERR = 2;

/** V8 without the memory that a server of cached answers never needs. */
const DAEMON_FLAGS: readonly string[] = ['--max-semi-space-size=1', '--expose-gc'];

async function startDaemon(argv: readonly string[], options: Options): Promise<ExitStatus> {
  const child = spawn(process.execPath, [...DAEMON_FLAGS, fileURLToPath(import.meta.url), ...argv.slice(2)], {
    detached: true,
    // what goes wrong before the mount is there, and is no CfsError, shows on this terminal
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    env: { ...process.env, [READY_FD]: '3' },
  });
  const ready = await waitReady(child);
  if ('error' in ready) throw new CfsError(ready.error.kind, ready.error.message);
  child.unref();
  if (options.json) printJson(ready.mounted);
  return EXIT.ok;
}

function waitReady(child: ChildProcess): Promise<Ready> {
  return new Promise((resolve, reject) => {
    const pipe = child.stdio[3] as Readable;
    let text = '';
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    pipe.on('end', () => {
      if (text !== '') resolve(JSON.parse(text) as Ready);
    });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (text === '')
        reject(new CfsError('mount', `the daemon ended before the mount was there (${signal ?? `status ${code}`})`));
    });
  });
}

await runTool('cfs-mount', main, MOUNT_KINDS);
