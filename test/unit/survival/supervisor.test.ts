/** The class that looks after the supervisor's script, with a stand-in for the script. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { lookAtParked, park } from '../../../src/survival/parking.ts';
import { Supervisor } from '../../../src/survival/supervisor.ts';
import { bundleOf } from '../../support/bundle.ts';
import { until } from '../../support/until.ts';
import { useScratch } from '../store/scratch.ts';

const at = useScratch();
/** If this is the limit, every server counts as short-lived; if the limit is 0, none does. */
const LONG_MS = 1e9;
const NEVER_SHORT = { longMs: 0, pauseMs: 10 };
const ALWAYS_SHORT = { longMs: LONG_MS, pauseMs: 10 };

let place: string;
let count = 0;
let ends: readonly [number, number];
let log: string[];
let onLog: (line: string) => void;
let supervisor: Supervisor | undefined;
/** The process id of a server that was started; -1 if there is none. */
let server: number;
const isServing = (): boolean => existsSync(`/proc/${server}/fd/5`);
const mount = { mountpoint: '/mnt/a b', device: '0:77', logFile: '/var/log/a' };

beforeEach(() => {
  place = at(`place${count++}`);
  mkdirSync(place);
  log = [];
  onLog = () => undefined;
  server = -1;
  const file = openSync('/dev/null', 'r');
  ends = park({ value: 1, fds: [file] });
  closeSync(file);
  script('read -r word <&3; echo "said $word" >>said');
});

afterEach(async () => {
  supervisor?.dismiss();
  supervisor = undefined;
  if (isServing()) process.kill(server, 'SIGKILL'); // if a test has failed
  // all scripts that were started have read the word, or have died
  await until('the last script has ended', () => started().every(({ pid }) => !existsSync(`/proc/${pid}/fd/5`)));
  ends.forEach(closeSync);
});

const lines = (name: string): string[] =>
  existsSync(join(place, name)) ? readFileSync(join(place, name), 'utf8').split('\n').slice(0, -1) : [];

const scriptPath = (): string => join(place, 'script');

/** Replaces the script atomically. `does` follows the lines that record its start. */
function script(does: string): void {
  const told = '$$|$CFS_LOG|$([ -S /proc/$$/fd/4 ] && [ -S /proc/$$/fd/5 ] && echo parked)|$1|$2|$3|$4';
  writeFileSync(`${scriptPath()}.new`, `cd '${place}'\nprintf '%s\\n' "${told}" >>started\n${does}\n`);
  renameSync(`${scriptPath()}.new`, scriptPath());
}

const started = (): { pid: number; told: string[] }[] =>
  lines('started').map((line) => {
    const [pid, ...told] = line.split('|');
    return { pid: Number(pid), told };
  });

function start(times: { longMs: number; pauseMs: number } = NEVER_SHORT): Supervisor {
  const say = (line: string): void => {
    log.push(line);
    onLog(line);
  };
  supervisor = Supervisor.start(ends, mount, say, { script: scriptPath(), ...times });
  return supervisor;
}

const ANOTHER = 'the supervisor of this server died: another was started';

describe('Supervisor', () => {
  test('starts the script with the mount, the server to start and the parked files', async () => {
    start();
    await until('the script runs', () => started().length === 1);
    expect(started()[0]?.told).toEqual(['/var/log/a', 'parked', '/mnt/a b', '/mnt/a\\040b', '0:77', process.execPath]);
    expect(lookAtParked(ends[1])?.fds.map(closeSync)).toHaveLength(1);
  });

  test('reports the end to it, and removes the parked files, once', async () => {
    const own = start();
    await until('the script runs', () => started().length === 1);
    own.dismiss();
    own.dismiss();
    expect(lookAtParked(ends[1])).toBeUndefined();
    await until('it knows', () => lines('said').length === 1);
    expect(lines('said')).toEqual(['said end']);
    expect(log).toEqual([]);
  });

  test('lets the script read the word even if it is dismissed before', async () => {
    start().dismiss();
    await until('it knows', () => lines('said').length === 1);
    expect(lines('said')).toEqual(['said end']);
  });

  test('starts another if the script dies, and dismisses that one', async () => {
    const own = start();
    for (let i = 1; i <= 5; i++) {
      await until('the script runs', () => started().length === i);
      process.kill(started()[i - 1]?.pid as number, 'SIGKILL');
    }
    await until('the last runs', () => started().length === 6);
    expect(log).toEqual(Array(5).fill(ANOTHER));
    own.dismiss();
    await until('it knows', () => lines('said').length === 1);
  });

  test('makes pauses if several die at once, reports it once, and continues until one survives', async () => {
    script('exit 1');
    start(ALWAYS_SHORT);
    await until('it was tried again and again', () => started().length >= 8);
    script('echo lives >>lives; read -r word <&3; echo "said $word" >>said');
    await until('one lives', () => lines('lives').length > 0);
    supervisor?.dismiss();
    await until('it knows', () => lines('said').length === 1);
    expect(log).toEqual([
      ...Array(3).fill(ANOTHER),
      '4 supervisors died at once: until one survives, no server will take over if this one dies',
    ]);
  });

  test('starts no other if it is dismissed in a pause', async () => {
    script('exit 1');
    onLog = (line) => {
      if (line.includes('died at once')) supervisor?.dismiss();
    };
    start(ALWAYS_SHORT);
    await until('there is a pause', () => log.length === 4);
    await sleep(2 * ALWAYS_SHORT.pauseMs); // timers fire in the order of their times
    // all of these have ended: no other is being started
    expect(started()).toHaveLength(4);
  });

  test('tries again if the script is missing', async () => {
    renameSync(scriptPath(), join(place, 'away'));
    start(ALWAYS_SHORT);
    await until('there is a pause', () => log.length === 4);
    renameSync(join(place, 'away'), scriptPath());
    await until('the script runs', () => started().length === 1);
  });
});

describe('Supervisor of a server that the script has started', () => {
  beforeAll(async () => {
    writeFileSync(at('server.mjs'), await bundleOf(`${import.meta.dirname}/server.ts`));
  });

  let parent: ChildProcess | undefined;
  let parentEnded: Promise<unknown[]>;

  /** A shell that starts the server, and waits for it. Resolves when the server is ready. */
  async function startServer(environment: NodeJS.ProcessEnv = {}): Promise<void> {
    const words = [process.execPath, at('server.mjs'), scriptPath(), join(place, 'log')];
    const body = `trap 'echo answered >>answered' USR1; CFS_SUPERVISOR=\${SUPERVISOR:-$$} "$@" & while ! wait; do :; done; exit 7`;
    parent = spawn('/bin/sh', ['-c', body, 'sh', ...words], {
      cwd: place,
      stdio: ['ignore', 'ignore', 'ignore', 'ignore', ...ends],
      env: { ...process.env, ...environment },
    });
    parentEnded = once(parent, 'exit');
    await until('the server is ready', () => lines('log').some((line) => line.startsWith('ready')));
    server = Number(/^ready (\d+)$/m.exec(lines('log').join('\n'))?.[1]);
  }

  const dismissed = async (): Promise<void> => {
    process.kill(server, 'SIGUSR2');
    await until('the server has ended', () => !isServing());
    await parentEnded;
  };

  test('kills the script when it is dismissed', async () => {
    await startServer();
    await dismissed();
    expect((await parentEnded)[1]).toBe('SIGKILL');
    expect(lookAtParked(ends[1])).toBeUndefined();
    expect(started()).toEqual([]);
  });

  test('starts another if the script ends', async () => {
    await startServer();
    parent?.kill('SIGKILL');
    await parentEnded;
    await until('the script runs', () => started().length === 1);
    expect(started()[0]?.told.slice(1)).toEqual(['parked', '/mnt/a b', '/mnt/a\\040b', '0:77', process.execPath]);
    await dismissed();
    await until('it knows', () => lines('said').length === 1);
    expect(lines('log')).toEqual([expect.stringMatching(/^ready/), ANOTHER]);
  });

  test('starts another, and only one, if the script had ended before it was watched', async () => {
    await startServer({ SUPERVISOR: '1' });
    await until('the script runs', () => started().length === 1);
    await dismissed();
    await until('it knows', () => lines('said').length === 1);
    expect(started()).toHaveLength(1);
  });

  test.each([
    ['by the signal that it names', 'USR1', ['answered']],
    ['not if its version names none', undefined, []],
  ])('reports to the script that the mount answers, %s', async (_name, signal, expected) => {
    await startServer(signal === undefined ? {} : { CFS_ANSWERED: signal });
    await until('the script knows', () => lines('answered').length === expected.length);
    expect(lines('answered')).toEqual(expected);
    await dismissed();
  });
});
