/** No signal and no variable opens Node's debugger in a process that may be root's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, expect, test } from 'vitest';
import { serverFlags } from '../../src/survival/server-process.ts';
import { type MountReport, useScratch } from './harness.ts';
import { HERE, run } from './run.ts';
import { isAlive, isSupervisor, sessionMembers, until } from './system.ts';

const scratch = useScratch();

let image: string;

beforeAll(async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'x'.repeat(1000));
  image = (await scratch.pack(source)).image;
});

const LISTENING = '0A';

/** Ports on which the process listens, by /proc/net/tcp. */
function listening(pid: number): string[] {
  const sockets = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
    } catch {
      return undefined; // it was closed in the meantime
    }
  });
  return ['tcp', 'tcp6']
    .flatMap((table) => readFileSync(`/proc/net/${table}`, 'latin1').split('\n'))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === LISTENING && sockets.includes(inode))
    .map(([, address]) => address as string);
}

/** Sends the signal, and waits until a debugger would listen: that takes some 10 ms, and node reports it on stderr. */
async function expectNoDebugger(pid: number): Promise<void> {
  process.kill(pid, 'SIGUSR1');
  for (let i = 0; i < 25; i++) {
    await sleep(20);
    expect(isAlive(pid), `${pid} goes on`).toBe(true);
    expect(listening(pid), `ports of ${pid}`).toEqual([]);
  }
}

test('SIGUSR1 opens no debugger in the server of a mount, or in one that takes over', async () => {
  const mounted = await scratch.mount(image);
  await expectNoDebugger(mounted.pid);
  expect(readFileSync(mounted.at('file'), 'utf8')).toHaveLength(1000);
  process.kill(mounted.pid, 'SIGKILL');
  const servers = (): number[] => sessionMembers(mounted.pid).filter((pid) => !isSupervisor(pid));
  await until('another server is there', () => servers().some((pid) => pid !== mounted.pid));
  expect(readFileSync(mounted.at('file'), 'utf8')).toHaveLength(1000);
  const [server] = servers() as [number];
  await expectNoDebugger(server);
  expect(readFileSync(mounted.at('file'), 'utf8')).toHaveLength(1000);
  await mounted.unmount();
});

test('SIGUSR1 opens no debugger in a foreground mount', async () => {
  const { mounted, child } = await scratch.mountInForeground(image);
  await expectNoDebugger(child.pid as number);
  await mounted.unmount();
});

test('SIGUSR1 opens no debugger in a running tool', async () => {
  // a process that waits for a lock of the repository
  const lock = spawn('flock', ['--no-fork', '-x', join(scratch.store, 'lock'), 'sleep', 'infinity'], {
    stdio: 'ignore',
  });
  let tool: ChildProcess | undefined;
  try {
    await until('the lock is taken', async () => {
      const { status } = await run(['flock', '-n', '-x', join(scratch.store, 'lock'), 'true']);
      return status !== 0;
    });
    const [program, ...args] = HERE.tool('cfs-repo', ['gc', scratch.store], scratch.environment) as [
      string,
      ...string[],
    ];
    tool = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    tool.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await until('it waits', () => said !== '');
    await expectNoDebugger(tool.pid as number);
  } finally {
    tool?.kill('SIGKILL');
    lock.kill('SIGKILL');
  }
});

test('a server that has not read its program yet opens none, either', async () => {
  const child = spawn(process.execPath, [...serverFlags(), '-e', 'setInterval(() => {}, 60000)'], { stdio: 'ignore' });
  const pid = child.pid as number;
  // node itself catches the signal from some moment on; before that the signal would end the process
  const USR1_CAUGHT = 1n << 9n;
  const caught = (): bigint => {
    const mask = /^SigCgt:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return BigInt(`0x${mask}`) & USR1_CAUGHT;
  };
  try {
    await until('node catches SIGUSR1', () => caught() !== 0n);
    await expectNoDebugger(pid);
  } finally {
    child.kill('SIGKILL');
  }
});

test('variables for node in the environment of a mount command do not reach the server', async () => {
  const at = scratch.directory('mnt');
  const preload = scratch.at('preload.cjs');
  writeFileSync(preload, '');
  const environment = {
    ...scratch.environment,
    NODE_OPTIONS: `--require=${preload}`,
    NODE_PATH: '/tmp',
    UV_THREADPOOL_SIZE: '7',
  };
  const { status, stdout, stderr } = await run(HERE.tool('cfs-mount', ['--json', image, at], environment));
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const mounted = scratch.adopt(JSON.parse(stdout) as MountReport);
  const names = readFileSync(`/proc/${mounted.pid}/environ`, 'utf8')
    .split('\0')
    .map((line) => line.split('=')[0]);
  expect(names.filter((name) => /^(?:NODE_|UV_)/.test(name ?? ''))).toEqual([]);
  expect(names).toContain('CFS_STORE');
  await mounted.unmount();
});
