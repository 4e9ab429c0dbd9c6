/** Runs commands, including the built tools, as different users and in different namespaces. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** After this time the command is killed, and `run` rejects. It is generous, because it measures nothing. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 120_000;

/** Kills a process that this one has started, unless it has ended, and waits for its end. */
export async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/**
 * Runs a command until it has ended and its output is closed: if it leaves a process with its stdout or stderr, this
 * times out.
 */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const [program, ...args] = command as [string, ...string[]];
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: options.env ?? process.env,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text;
    });
  }
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
    child.stdout.destroy();
    child.stderr.destroy();
  }, timeoutMs);
  try {
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    if (late) throw new Error(`after ${timeoutMs} ms still running: ${command.join(' ')}\n${output.stderr}`);
    return { status, signal, ...output };
  } finally {
    clearTimeout(timer);
  }
}

/** The output of a command that must succeed. */
export async function succeed(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { status, signal, stdout, stderr } = await run(command, options);
  if (status !== 0) throw new Error(`${command.join(' ')}: ${signal ?? `status ${status}`}\n${stderr}${stdout}`);
  return stdout;
}

/** The tools of a user: a node and a dist/ that the user may read. */
export interface Tools {
  readonly node: string;
  readonly dist: string;
}

export const OWN_TOOLS: Tools = { node: process.execPath, dist: resolve(import.meta.dirname, '../../dist') };

/** The user and the namespaces in which commands run. */
export class Place {
  readonly name: string;
  readonly prefix: readonly string[];
  readonly tools: Tools;
  /** A process in the mount namespace of this place. */
  readonly witness: number | 'self';

  constructor(name: string, prefix: readonly string[] = [], tools = OWN_TOOLS, witness: number | 'self' = 'self') {
    this.name = name;
    this.prefix = prefix;
    this.tools = tools;
    this.witness = witness;
  }

  get inNamespace(): boolean {
    return this.witness !== 'self';
  }

  command(...command: readonly string[]): string[] {
    return [...this.prefix, ...command];
  }

  /** The command line of one of the project's tools, e.g. `cfs-mount`, with additions to its environment. */
  tool(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string[] {
    const settings = Object.entries(env).map(([key, value]) => `${key}=${value}`);
    return this.command('env', ...settings, this.tools.node, `${this.tools.dist}/tools/${name}.js`, ...args);
  }
}

/** Root, in the namespace of the tests. */
export const HERE = new Place('root');

export const NOBODY = 65534;

/** The command prefix with which root becomes an ordinary user. */
export function asUser(uid: number, gid: number = uid, groups: readonly number[] = []): string[] {
  const supplementary = groups.length === 0 ? ['--clear-groups'] : [`--groups=${groups.join(',')}`];
  // root's PATH may lead into directories that others may not enter
  const environment = ['env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/nonexistent'];
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, ...supplementary, ...environment];
}

/**
 * New user and mount namespaces, in which the user of `prefix` is root (unshare -Urm). They last until `end`, or until
 * this process ends.
 * @param foreign mount points that are left out of the namespace, which would keep those mounts
 */
export async function userNamespace(
  name: string,
  prefix: readonly string[],
  tools: Tools,
  foreign: readonly string[],
): Promise<{ readonly place: Place; end(): void }> {
  // in a namespace of root, because inherited mounts cannot be unmounted in a user namespace
  const without = 'while [ "$1" != -- ]; do umount -l "$1" || true; shift; done; shift; exec "$@"';
  const inside = [...prefix, 'unshare', '-Urm', 'sh', '-c', 'echo ready; exec cat'];
  const holder: ChildProcess = spawn('unshare', ['--mount', 'sh', '-c', without, 'sh', ...foreign, '--', ...inside], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const [line] = (await once(holder.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  const { pid } = holder;
  if (line.toString() !== 'ready\n' || pid === undefined) throw new Error(`unshare -Urm did not work for ${name}`);
  const enter = [...prefix, 'nsenter', `--target=${pid}`, '--user', '--mount', '--preserve-credentials', '--'];
  return { place: new Place(name, enter, tools, pid), end: () => void holder.stdin?.end() };
}
