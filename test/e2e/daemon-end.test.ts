/** How the process behind a mount ends: by umount, by signals, or by force, and at any moment. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { codeOf } from '../support/suites/filesystem-subject.ts';
import { useScratch } from './harness.ts';
import { HERE, run } from './run.ts';
import { isAlive, mountedAt, processesNaming, unmountBy, until } from './system.ts';

const scratch = useScratch();

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'small'), 'small\n');
  writeFileSync(join(source, 'large'), Buffer.alloc(3_000_000, 'large file '));
  image = (await scratch.pack(source)).image;
});

/**
 * Closes a file of a mount whose daemon may be gone. A daemon that hangs is killed first: it would block this process.
 */
function closeForsaken(fd: number, daemon: number): void {
  if (isAlive(daemon)) process.kill(daemon, 'SIGKILL');
  expect(['no error', 'ENOTCONN', 'ECONNABORTED']).toContain(codeOf(() => closeSync(fd)));
}

describe.each(['kernel', 'fuse-native'])('the daemon, driver=%s', (driver) => {
  const words = [`driver=${driver}`];

  test.each(['SIGTERM', 'SIGINT'] as const)('unmounts on %s', async (signal) => {
    const mounted = await scratch.mount(image, { words });
    process.kill(mounted.pid, signal);
    await mounted.expectGone();
  });

  test('unmounts on SIGTERM while files are open, serves them, and ends on a second one', async () => {
    const mounted = await scratch.mount(image, { words });
    const fd = openSync(mounted.at('large'), 'r');
    try {
      process.kill(mounted.pid, 'SIGTERM');
      await until('it is out of the tree', () => !mounted.isMounted);
      expect(isAlive(mounted.pid)).toBe(true);
      expect(readSync(fd, Buffer.alloc(100), 0, 100, 2_500_000)).toBe(100);
      process.kill(mounted.pid, 'SIGTERM');
      await until('it has ended', () => !isAlive(mounted.pid));
    } finally {
      closeForsaken(fd, mounted.pid);
    }
  });

  test('that is killed leaves, with restart=off, a mount that answers ENOTCONN and can be unmounted', async () => {
    const mounted = await scratch.mount(image, { words: [...words, 'restart=off'] });
    process.kill(mounted.pid, 'SIGKILL');
    await until('it has ended', () => !isAlive(mounted.pid));
    await until('the mount is dead', () => codeOf(() => readdirSync(mounted.path)) === 'ENOTCONN');
    await mounted.unmount();
  });

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'in the foreground unmounts on %s and ends with status 0',
    async (signal) => {
      const { mounted, child, ended, log } = await scratch.mountInForeground(image, { words });
      expect(mounted.pid).toBe(child.pid);
      expect(readFileSync(mounted.at('small'), 'utf8')).toBe('small\n');
      child.kill(signal);
      expect(await ended).toEqual([0, null]);
      expect(mounted.isMounted).toBe(false);
      expect(log()).toBe('');
    },
  );

  test('in the foreground ends with status 0 when the mount is unmounted by others', async () => {
    const { mounted, ended, log } = await scratch.mountInForeground(image, { words });
    await unmountBy(['umount', mounted.path]);
    expect(await ended).toEqual([0, null]);
    expect(log()).toBe('');
  });

  test('in the foreground logs to stderr', async () => {
    const store = scratch.directory('empty-store');
    rmSync(store, { recursive: true });
    await scratch.tool('cfs-repo', ['init', store]);
    const { mounted, ended, log } = await scratch.mountInForeground(image, { words: [...words, `basedir=${store}`] });
    expect(codeOf(() => readFileSync(mounted.at('large')))).toBe('EIO');
    await until('the log tells it', () => log().includes('/large: object '));
    await mounted.unmount();
    expect(await ended).toEqual([0, null]);
  });

  test('unmounts on a signal that arrives as soon as it reports that it mounted', async () => {
    const at = scratch.directory('mnt');
    for (let i = 0; i < 8; i++) {
      const { child, ended } = startForeground(at, words);
      await once(child.stdout, 'data');
      child.kill(i % 2 === 0 ? 'SIGTERM' : 'SIGINT');
      const [status, signal] = await ended;
      const left = mountedAt(at);
      if (left !== undefined) execFileSync('umount', ['-l', at]);
      expect({ status, signal, left }, `attempt ${i}`).toEqual({ status: 0, signal: null, left: undefined });
    }
  });

  test('leaves no mount when a signal arrives while it starts', async () => {
    const at = scratch.directory('mnt');
    for (let delay = 20; delay <= 400; delay += 20) {
      const { child, ended } = startForeground(at, words);
      await sleep(delay);
      child.kill('SIGTERM');
      await ended;
      const left = mountedAt(at);
      if (left !== undefined) execFileSync('umount', ['-l', at]);
      expect(left, `killed after ${delay} ms`).toBeUndefined();
    }
  });

  test.each(['SIGINT', 'SIGKILL'] as const)(
    'leaves a mount that answers, or none, when its starter gets %s while it starts',
    async (signal) => {
      const at = scratch.directory('mnt');
      for (let delay = 60; delay <= 360; delay += 60) {
        const command = HERE.tool('cfs-mount', ['-o', words.join(','), image, at], scratch.environment);
        const starter = spawn(command[0] as string, command.slice(1), { stdio: 'ignore' });
        const starterEnded = once(starter, 'exit');
        await sleep(delay);
        starter.kill(signal);
        await starterEnded;
        await until(`after ${signal} in ${delay} ms there is a mount that answers, or none`, async () =>
          ['no mount', 'it works'].includes(await answerOf(at)),
        );
        await forceAway(at);
      }
    },
  );
});

/** Starts `cfs-mount -f` without waiting for the mount. */
function startForeground(at: string, words: readonly string[]) {
  const command = HERE.tool('cfs-mount', ['-f', '--json', '-o', words.join(','), image, at], scratch.environment);
  const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  return { child, ended };
}

/** The state of a mount. Another process asks, because it may hang. */
async function answerOf(at: string): Promise<string> {
  if (mountedAt(at) === undefined) return processesNaming(at).length === 0 ? 'no mount' : 'a daemon without a mount';
  const { status, stdout } = await run(['timeout', '--signal=KILL', '60', 'cat', join(at, 'small')]);
  if (stdout === 'small\n') return 'it works';
  return status === 1 ? 'a dead mount' : 'a mount that hangs';
}

async function forceAway(at: string): Promise<void> {
  // a daemon that is ending may be quicker
  await until('it is not mounted', async () => {
    if (mountedAt(at) !== undefined) await run(['umount', '-l', at]);
    return mountedAt(at) === undefined;
  });
  await until('no process is left', () => processesNaming(at).length === 0);
  for (const pid of processesNaming(at)) process.kill(pid, 'SIGKILL');
}
