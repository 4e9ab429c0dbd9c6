/** `cfs-info stats --prometheus --all`: statistics of all mounts, in processes of their own: a server may hang. */

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { withoutDebugger } from '../../src/base/debugger-flags.ts';
import { eachAtOnce } from '../../src/base/each-at-once.ts';
import { pathText } from '../../src/base/path-text.ts';
import type { MountStatistics } from '../../src/mount/mount-statistics.ts';
import { O_PATH } from '../../src/system/libc.ts';
import { cfsMounts } from './mounts.ts';
import type { Output } from './output.ts';
import { type MeasuredMount, prometheusOf } from './stats.ts';

/** How long a server may take to answer. */
const PATIENCE_MS = 20_000;
/** Descriptor of the mount point in the process that asks. */
const MOUNT_FD = 3;

/** Writes the statistics of each mount that this process can see. One that does not answer is shown as down. */
export async function showAllStats(out: Output): Promise<void> {
  const mounts = cfsMounts();
  const places = new Map(mounts.map(({ mountpointBytes }) => [pathText(mountpointBytes), mountpointBytes]));
  const measured: MeasuredMount[] = [];
  await eachAtOnce([...places], availableParallelism(), async ([mountpoint, bytes]) => {
    measured.push({ mountpoint, stats: await ask(Buffer.from(bytes)) });
  });
  measured.sort((a, b) => (a.mountpoint < b.mountpoint ? -1 : 1));
  out.text(prometheusOf(measured));
}

/** Undefined without an answer in time. */
function ask(mountpoint: Buffer): Promise<MountStatistics | undefined> {
  let fd: number;
  try {
    fd = openSync(mountpoint, O_PATH);
  } catch {
    return Promise.resolve(undefined); // a dead daemon left it, or this user may not reach it
  }
  return new Promise((resolve) => {
    const args = ['stats', '--json', `/proc/self/fd/${MOUNT_FD}/.`];
    const child = spawn(process.execPath, [...withoutDebugger(), process.argv[1] as string, ...args], {
      stdio: ['ignore', 'pipe', 'ignore', fd],
    });
    closeSync(fd);
    const finish = (stats: MountStatistics | undefined): void => {
      clearTimeout(timer);
      // one that is blocked in the kernel may not die yet: it is not waited for
      child.kill('SIGKILL');
      child.stdout?.destroy();
      child.unref();
      resolve(stats);
    };
    const timer = setTimeout(() => finish(undefined), PATIENCE_MS);
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', () => finish(undefined));
    child.once('close', (status) => finish(status === 0 ? (JSON.parse(text) as MountStatistics) : undefined));
  });
}
