/**
 * A daemon that cannot be started, or that ends before its mount answers: cfs-mount reports it, and nothing is left.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '../../tools/cli.ts';
import { type MountReport, useScratch } from './harness.ts';
import { HERE, run, succeed } from './run.ts';
import { isAlive, isSupervisor, mountedAt, processesNaming, sessionMembers, unmountBy, until } from './system.ts';

const scratch = useScratch();

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'x'.repeat(1000));
  image = (await scratch.pack(source)).image;
});

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<[number | null, NodeJS.Signals | null]>;
  readonly stderr: () => string;
}

function start(at: string): Started {
  const command = HERE.tool('cfs-mount', ['--repo', scratch.store, image, at], scratch.environment);
  const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return { child, ended, stderr: () => text };
}

/** The daemon that `child` has started. */
async function daemonOf({ pid }: ChildProcess): Promise<number> {
  let daemon = 0;
  await until('a daemon is started', () => {
    daemon = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ')[0]);
    // until its program runs, node waits for it in spawn()
    return daemon > 0 && readFileSync(`/proc/${daemon}/cmdline`, 'latin1').includes('cfs-serve');
  });
  return daemon;
}

async function expectNothing(at: string): Promise<void> {
  await until('no process is left', () => processesNaming(at).length === 0);
  expect(mountedAt(at)).toBeUndefined();
}

test('a daemon that is killed at any moment before it answers is reported, and leaves no dead mount', async () => {
  const at = scratch.directory('mnt');
  for (let delay = 0; delay < 600; delay += 60) {
    const { child, ended, stderr } = start(at);
    const daemon = await daemonOf(child);
    await sleep(delay);
    if (isAlive(daemon)) process.kill(daemon, 'SIGKILL');
    const [status] = await ended;
    expect([EXIT.ok, EXIT.mount], stderr()).toContain(status);
    if (status === EXIT.mount) {
      expect(stderr()).toMatch(
        /^cfs-mount: the daemon ended before the mount was there \(SIGKILL\)\. It was killed.*\n$/,
      );
    } else {
      // it had answered: another server takes over
      await succeed(['timeout', '60', 'ls', at]);
      await unmountBy(['umount', at]);
    }
    await expectNothing(at);
  }
});

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
  'cfs-mount that gets %s also ends a daemon that receives no signal',
  async (signal) => {
    const at = scratch.directory('mnt');
    const { child, ended } = start(at);
    const daemon = await daemonOf(child);
    process.kill(daemon, 'SIGSTOP');
    await until('cfs-mount waits for it', () => {
      const caught = /^SigCgt:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'latin1'))?.[1];
      return (BigInt(`0x${caught}`) & 0x4003n) === 0x4003n; // HUP, INT, TERM
    });
    child.kill(signal);
    expect(await ended).toEqual([null, signal]);
    await expectNothing(at);
  },
);

/** One line for people, and no stack trace. */
const ONE_LINE = /^cfs-mount: [^\n]*\n$/;

describe.each([20, 22, 24, 26, 28, 30, 34, 40])('with %d descriptors', (limit) => {
  test('cfs-mount mounts, or names the limit that it reached', async () => {
    const at = scratch.directory('mnt');
    const command = HERE.tool('cfs-mount', ['--json', '--repo', scratch.store, image, at], scratch.environment);
    const { status, stdout, stderr } = await run(['prlimit', `--nofile=${limit}`, ...command]);
    if (status === EXIT.ok) {
      const mounted = scratch.adopt(JSON.parse(stdout) as MountReport);
      await mounted.unmount();
      return;
    }
    // node itself ends like this if it cannot open a file that it needs
    if (/node::|node:internal/.test(stderr)) {
      await expectNothing(at);
      return;
    }
    expect({ status, stderr }).toEqual({
      status: expect.any(Number),
      stderr: expect.stringMatching(ONE_LINE),
    });
    expect([EXIT.mount, EXIT.system]).toContain(status);
    await expectNothing(at);
  });
});

test('SIGTERM unmounts if a directory above the mount point was renamed', async () => {
  const above = scratch.directory('above');
  mkdirSync(join(above, 'm'));
  const { stdout } = await scratch.tryMount(image, { at: join(above, 'm') });
  const { pid } = JSON.parse(stdout) as MountReport;
  renameSync(above, `${above} with blanks`);
  process.kill(pid, 'SIGTERM');
  await until('the daemon has ended', () => sessionMembers(pid).length === 0);
  expect(mountedAt(join(`${above} with blanks`, 'm'))).toBeUndefined();
});

test('a supervisor that gives up also finds a mount whose path was renamed', async () => {
  const above = scratch.directory('above');
  mkdirSync(join(above, 'm'));
  const { stdout } = await scratch.tryMount(image, { at: join(above, 'm') });
  const { pid } = JSON.parse(stdout) as MountReport;
  process.kill(pid, 'SIGKILL');
  await until('another server is there', () =>
    sessionMembers(pid).some((other) => other !== pid && !isSupervisor(other)),
  );
  renameSync(above, `${above} with blanks`);
  await succeed(['ls', join(`${above} with blanks`, 'm')]);
  const members = sessionMembers(pid);
  const supervisor = members.find(isSupervisor) as number;
  const server = members.find((other) => other !== supervisor) as number;
  process.kill(server, 'SIGSTOP');
  process.kill(supervisor, 'SIGTERM');
  process.kill(server, 'SIGKILL');
  await until('all have ended', () => sessionMembers(pid).length === 0);
  expect(mountedAt(join(`${above} with blanks`, 'm'))).toBeUndefined();
});
