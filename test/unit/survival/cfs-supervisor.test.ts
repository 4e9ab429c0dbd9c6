/**
 * The supervisor's script with servers that follow the plan of a test. test/e2e/survival.test.ts runs it with real
 * mounts.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../../support/until.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
const SCRIPT = join(import.meta.dirname, '../../../libexec/cfs-supervisor');
const DEVICE = '0:77';
/** dash, the shell of Debian; and bash, which as "sh" is in posix mode: the shell of Fedora. */
const SHELLS = ['/bin/sh', '/bin/bash'];
let shell = '/bin/sh';

/** A server: records how it was started, then runs the plan's line for the n-th server. */
const SERVER = `
fds=
for fd in 3 4 5; do [ -e /proc/$$/fd/$fd ] && fds=$fds$fd; done
echo "deaths=$CFS_DEATHS status=$CFS_STATUS supervisor=$CFS_SUPERVISOR answered=$CFS_ANSWERED fds=$fds args=$*" >>started
n=$(wc -l <started)
answer() { kill -USR1 $CFS_SUPERVISOR; }
serve() { exec "$NODE" serving.mjs $n "$1"; }
plan=$(sed -n "$n"p plan)
eval "\${plan:-$(tail -n 1 plan)}"
`;

/** A server that runs until SIGTERM, and then exits with the planned status, or stays and answers again. */
const SERVING = `
import { renameSync, writeFileSync } from 'node:fs';
const [number, end] = process.argv.slice(2);
process.on('SIGTERM', () => {
  writeFileSync('stopped', '');
  if (end !== 'stay') process.exit(Number(end));
  process.kill(Number(process.env.CFS_SUPERVISOR), 'SIGUSR1');
});
setInterval(() => undefined, 1_000_000);
writeFileSync('new', process.pid + '\\n');
renameSync('new', 'serving.' + number);
`;

/** A program that only records how it was called. */
const stub = (name: string, status = 0): void => {
  writeFileSync(
    join(place, 'bin', name),
    `#!/bin/sh\nprintf '%s\\n' "${name} $*" >>'${place}/calls'\nexit ${status}\n`,
  );
  chmodSync(join(place, 'bin', name), 0o755);
};

let place: string;
let count = 0;
let supervisor: ChildProcess | undefined;
let ended: Promise<unknown[]>;

beforeEach(() => {
  place = at(`place${count++}`);
  mkdirSync(join(place, 'bin'), { recursive: true });
  writeFileSync(join(place, 'server'), SERVER);
  writeFileSync(join(place, 'serving.mjs'), SERVING);
  mounts('1 2 0:1 / / rw - tmpfs none rw');
  // a pause ends at once; nothing is unmounted
  for (const name of ['sleep', 'umount', 'fusermount3', 'logger']) stub(name);
});

afterEach(async () => {
  if (supervisor === undefined || supervisor.exitCode !== null || supervisor.signalCode !== null) return;
  // a test has failed: end its processes
  supervisor.kill('SIGKILL');
  await ended;
  const server = readLines(`serving.${handedOver().length}`)[0];
  if (server !== undefined) process.kill(Number(server), 'SIGKILL');
});

const readLines = (name: string): string[] =>
  existsSync(join(place, name)) ? readFileSync(join(place, name), 'utf8').split('\n').slice(0, -1) : [];

/** The file that the script reads in place of /proc/self/mountinfo. */
const mounts = (...lines: readonly string[]): void =>
  writeFileSync(join(place, 'mountinfo'), lines.map((line) => `${line}\n`).join(''));

/** Starts the script. Returns the server's end of its descriptor 3. */
function start(plan: readonly string[], environment: NodeJS.ProcessEnv = {}, mountpoint = '/mnt/a b'): Socket {
  writeFileSync(join(place, 'plan'), plan.map((line) => `${line}\n`).join(''));
  const script = readFileSync(SCRIPT, 'utf8').replaceAll('/proc/self/mountinfo', `${place}/mountinfo`);
  writeFileSync(join(place, 'script'), script);
  const words = [join(place, 'script'), mountpoint, mountpoint.replaceAll(' ', '\\040'), DEVICE];
  const parked = openSync('/dev/null', 'r');
  const child = spawn(shell, [...words, '/bin/sh', 'server', 'one', 'two words'], {
    argv0: 'sh',
    cwd: place,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', parked, parked],
    env: {
      PATH: `${join(place, 'bin')}:${process.env['PATH']}`,
      NODE: process.execPath,
      CFS_LOG: join(place, 'log'),
      CFS_GIVE_UP_SECONDS: '1000000',
      ...environment,
    },
  });
  closeSync(parked);
  supervisor = child;
  ended = once(child, 'exit');
  return child.stdio[3] as Socket;
}

/** Starts the script for a server that dies at once. */
const startAfterDeath = (...how: Parameters<typeof start>): void => void start(...how).destroy();

/** Resolves with the exit status of the script, or the signal that ended it. */
async function end(): Promise<unknown> {
  const [status, signal] = await ended;
  return signal ?? status;
}

/** `deaths` and `status` of each server that was started. */
const handedOver = (): (readonly [deaths: string, status: string])[] =>
  readLines('started').map((line) => {
    const [, deaths = '', status = ''] = /^deaths=(\S*) status=(\S*)/.exec(line) ?? [];
    return [deaths, status];
  });

const pauses = (): string[] => readLines('calls').flatMap((line) => /^sleep (.*)/.exec(line)?.[1] ?? []);
const unmounts = (): string[] => readLines('calls').filter((line) => /mount/.test(line));

describe.each(SHELLS)('cfs-supervisor under %s', (its) => {
  beforeEach(() => {
    shell = its;
  });

  test.each(['at once', 'when the script reads'])('ends if the server says "end", %s', async (when) => {
    const pipe = start(['exit 0']);
    if (when !== 'at once') await once(supervisor as ChildProcess, 'spawn');
    pipe.end('end\n');
    expect(await end()).toBe(0);
    expect(readLines('started')).toEqual([]);
    expect(unmounts()).toEqual([]);
  });

  test('starts a server if the first one dies without that, and ends with the last that ends normally', async () => {
    const pipe = start(['exit 3', 'kill -9 $$', 'exit 0']);
    pipe.end('en');
    expect(await end()).toBe(0);
    expect(handedOver()).toEqual([
      ['1', ''],
      ['2', '3'],
      ['3', '137'],
    ]);
    const { pid } = supervisor as ChildProcess;
    expect(readLines('started')[0]).toBe(`deaths=1 status= supervisor=${pid} answered=USR1 fds=45 args=one two words`);
    expect(unmounts()).toEqual([]);
  });

  test('makes longer and longer pauses after deaths in a row', async () => {
    startAfterDeath([...Array(9).fill('exit 1'), 'exit 0']);
    expect(await end()).toBe(0);
    expect(pauses()).toEqual(['0.1', '0.2', '0.5', '1', '2', '5', '5', '5']);
    expect(readLines('log')).toEqual([
      expect.stringMatching(/^\S+Z cfs-supervisor\[\d+\]: \/mnt\/a b: two servers ended/),
    ]);
  });

  test('resets the count after a server that answered and lived for a second', async () => {
    const lived = 'answer; PATH=/usr/bin:/bin sleep 1.1; exit 4';
    startAfterDeath(['exit 1', 'exit 2', lived, 'exit 0']);
    expect(await end()).toBe(0);
    expect(handedOver().map(([deaths]) => deaths)).toEqual(['1', '2', '3', '1']);
    expect(handedOver()[3]).toEqual(['1', '4']);
  });

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'passes %s on as SIGTERM, and ends with the server',
    async (signal) => {
      startAfterDeath(['serve 0']);
      await until('it serves', () => readLines('serving.1').length > 0);
      supervisor?.kill(signal);
      expect(await end()).toBe(0);
      expect(existsSync(join(place, 'stopped'))).toBe(true);
      expect(unmounts()).toEqual([]);
    },
  );

  test('starts no other server after SIGTERM, however the last one ends', async () => {
    startAfterDeath(['serve 3']);
    await until('it serves', () => readLines('serving.1').length > 0);
    supervisor?.kill('SIGTERM');
    expect(await end()).toBe(1);
    expect(handedOver()).toHaveLength(1);
  });

  test('waits for a server that continues after SIGTERM, and after it has answered again and again', async () => {
    startAfterDeath(['answer; serve stay']);
    await until('it serves', () => readLines('serving.1').length > 0);
    supervisor?.kill('SIGTERM');
    await until('the server has the signal', () => existsSync(join(place, 'stopped')));
    supervisor?.kill('SIGUSR1');
    expect(supervisor?.exitCode).toBeNull();
    process.kill(Number(readLines('serving.1')[0]), 'SIGKILL');
    expect(await end()).toBe(1);
    expect(handedOver()).toHaveLength(1);
  });

  test('knows the status of a server that ends as soon as it has sent its signal', async () => {
    // bash 5.2 may lose it for good. After "exit 0" another server starts then, and ends because nothing is parked
    const losesSome = execFileSync(its, ['-c', 'echo $BASH_VERSION']).length > 1;
    for (let i = 0; i < 20; i++) {
      const first = handedOver().length;
      startAfterDeath([...Array(first).fill(''), 'answer; exit 5', 'answer; exit 0', 'exit 0']);
      expect(await end()).toBe(0);
      const [one, two, ...others] = handedOver().slice(first);
      expect(one).toEqual(['1', '']);
      expect(two).toEqual([expect.stringMatching(/[12]/), expect.stringMatching(losesSome ? /^5?$/ : /^5$/)]);
      expect(others.filter(([, status]) => !losesSome || status !== '')).toEqual([]);
    }
  });

  test('does not give up before its time, for any number of deaths', async () => {
    startAfterDeath([...Array(20).fill('exit 1'), 'exit 0']);
    expect(await end()).toBe(0);
    expect(handedOver()).toHaveLength(21);
  });

  test('gives up after its time if eight servers in a row died before they answered', async () => {
    startAfterDeath(['exit 1', 'exit 1', 'answer; exit 2', 'exit 1'], { CFS_GIVE_UP_SECONDS: '0' });
    expect(await end()).toBe(1);
    expect(handedOver()).toHaveLength(3 + 8);
    expect(readLines('log').at(-1)).toMatch(
      /8 servers ended before they answered, in \d+ s, the last with status 1: given up/,
    );
  });

  test('writes to syslog if there is no file for its log', async () => {
    startAfterDeath(['exit 1'], { CFS_GIVE_UP_SECONDS: '0', CFS_LOG: '' });
    expect(await end()).toBe(1);
    const lines = readLines('calls').filter((line) => line.startsWith('logger'));
    expect(lines).toEqual([expect.stringContaining('two servers ended'), expect.stringContaining('given up')]);
  });
});

describe.each(SHELLS)('the mount that cfs-supervisor unmounts under %s when it gives up', (its) => {
  beforeEach(() => {
    shell = its;
  });

  const ROOT = '1 2 0:1 / / rw - tmpfs none rw';
  const giveUp = async (mountpoint?: string): Promise<string[]> => {
    startAfterDeath(['exit 1'], { CFS_GIVE_UP_SECONDS: '0' }, mountpoint);
    expect(await end()).toBe(1);
    return unmounts();
  };

  test('is the one that it supervised', async () => {
    mounts(ROOT, `3 1 ${DEVICE} / /mnt/a\\040b ro - fuse.cfs x ro`);
    expect(await giveUp()).toEqual(['umount -l /mnt/a b']);
  });

  test('is unmounted by fusermount3 if umount may not', async () => {
    stub('umount', 1);
    mounts(ROOT, `3 1 ${DEVICE} / /mnt/a\\040b ro - fuse.cfs x ro`);
    expect(await giveUp()).toEqual(['umount -l /mnt/a b', 'fusermount3 -uz -- /mnt/a b']);
  });

  test('is left alone if another covers it, or it is gone', async () => {
    mounts(ROOT, `3 1 ${DEVICE} / /mnt/a\\040b ro - fuse.cfs x ro`, '4 3 0:78 / /mnt/a\\040b rw - tmpfs none rw');
    expect(await giveUp()).toEqual([]);
    mounts(ROOT, '4 1 0:78 / /mnt/a\\040b rw - tmpfs none rw');
    expect(await giveUp()).toEqual([]);
  });

  test('is found if a directory above it was renamed', async () => {
    mounts(ROOT, `3 1 ${DEVICE} / /new\\134name/a\\040b ro - fuse.cfs x ro`);
    expect(await giveUp()).toEqual(['umount -l /new\\name/a b']);
  });

  test('is the one at its place if it is bound to others, too', async () => {
    const bound = (point: string): string => `3 1 ${DEVICE} / ${point} ro - fuse.cfs x ro`;
    mounts(ROOT, bound('/before'), bound('/mnt/a\\040b'), bound('/after'));
    expect(await giveUp()).toEqual(['umount -l /mnt/a b']);
  });
});
