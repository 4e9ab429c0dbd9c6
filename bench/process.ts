/** Child processes that are timed, and the programs of cfs itself. */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CfsError } from '../src/base/error.ts';

/** How long a child that was asked to end may take before it is killed. */
const KILL_AFTER_MS = 10_000;
/** A daemon that kept its parent's pipes must not block their reader forever. */
const PIPE_GRACE_MS = 500;
const STDERR_LIMIT = 16_384;

export interface Ended {
  /** From the spawn until the process had ended. */
  readonly ns: number;
  /** Empty if it was not collected. */
  readonly stdout: Buffer;
}

/**
 * Runs a program to its end. Its output goes to /dev/null, or is collected. In its own session: a ^C at the terminal
 * reaches only the benchmark, which then ends the child and cleans up.
 * @param input the program's stdin; without it stdin is /dev/null
 * @throws CfsError (system) if it cannot start or ends with another status than 0; the signal's reason
 */
export async function run(
  argv: readonly [string, ...string[]],
  signal: AbortSignal,
  output: 'discard' | 'collect' = 'discard',
  input?: string,
): Promise<Ended> {
  signal.throwIfAborted();
  const [program, ...args] = argv;
  const begin = process.hrtime.bigint();
  const child = spawn(program, args, {
    stdio: [input === undefined ? 'ignore' : 'pipe', output === 'collect' ? 'pipe' : 'ignore', 'pipe'],
    // the same language and the same work everywhere: without TZ every local time looks at /etc/localtime
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC0' },
    detached: true,
  });
  // a program that ends without reading all of it is not an error here
  child.stdin?.on('error', () => undefined).end(input);
  const stop = (): void => terminate(child);
  signal.addEventListener('abort', stop, { once: true });
  try {
    const { status, ns, stdout, stderr } = await ended(child, begin);
    signal.throwIfAborted();
    if (status !== 0) {
      const reason = typeof status === 'number' ? `ended with status ${status}` : `was ended by ${status}`;
      throw new CfsError('system', `${firstLines(stderr) || argv.join(' ')} (it ${reason})`);
    }
    return { ns, stdout };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Ends the session of the child: a shell's pipeline, too. */
function terminate(child: ChildProcess): void {
  const signal = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      child.kill(name); // not yet, or no more, the leader of its group
    }
  };
  signal('SIGTERM');
  const timer = setTimeout(() => signal('SIGKILL'), KILL_AFTER_MS);
  child.once('exit', () => clearTimeout(timer));
}

interface Exit {
  readonly status: number | NodeJS.Signals;
  readonly ns: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

function ended(child: ChildProcess, begin: bigint): Promise<Exit> {
  const stdout: Buffer[] = [];
  let stderr = '';
  child.stdout?.on('data', (piece: Buffer) => stdout.push(piece));
  child.stderr?.on('data', (piece: Buffer) => {
    if (stderr.length < STDERR_LIMIT) stderr += piece.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('error', (error) => {
      reject(new CfsError('system', `Cannot run ${child.spawnfile}: ${error.message}`));
    });
    child.once('exit', (code, killer) => {
      const ns = Number(process.hrtime.bigint() - begin);
      const finish = (): void => {
        clearTimeout(timer);
        child.stdout?.destroy();
        child.stderr?.destroy();
        resolve({ status: code ?? killer ?? 'SIGKILL', ns, stdout: Buffer.concat(stdout), stderr });
      };
      const timer = setTimeout(finish, PIPE_GRACE_MS);
      child.once('close', finish);
    });
  });
}

const firstLines = (stderr: string): string => stderr.trim().split('\n').slice(0, 3).join('; ');

/** The path of the built file `name` of tools/. */
export function toolPath(name: string): string {
  return fileURLToPath(new URL(`../tools/${name}`, import.meta.url));
}

/** The command line of a tool of this build, e.g. `cfs-mount`. */
export function toolCommand(name: string, ...args: readonly string[]): [string, ...string[]] {
  return [process.execPath, toolPath(`${name}.js`), ...args];
}

/** The reason why these tools cannot be run; undefined if they can. */
export function missingTools(...names: readonly string[]): string | undefined {
  const missing = names.filter((name) => !existsSync(toolPath(`${name}.js`)));
  if (missing.length === 0) return undefined;
  return `${missing.map((name) => toolPath(`${name}.js`)).join(' and ')} not there; build first (npm run build)`;
}

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The first of these programs that is in the PATH, as an absolute path. */
export function findProgram(...names: readonly string[]): string | undefined {
  const directories = (process.env['PATH'] ?? DEFAULT_PATH).split(':').filter((directory) => directory !== '');
  return names
    .flatMap((name) => directories.map((directory) => join(directory, name)))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** The reason why a program of this machine cannot be run; undefined if it can. `from` names its package. */
export function missingProgram(name: string, from: string): string | undefined {
  return findProgram(name) === undefined ? `${name} is not installed (${from})` : undefined;
}
