/** What readers of a mount notice when a mirror, or the server of the mount, dies while objects are fetched. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { CfsError } from '../src/base/error.ts';
import type { Bench } from './contract.ts';
import { run, toolCommand } from './process.ts';
import { PACKS, PLAIN } from './remote-inputs.ts';
import { readFiles, someFiles, withLazyMount } from './remote-mounts.ts';
import type { Found, Judged, RemoteRun } from './remote-terms.ts';
import { WebServer } from './web-server.ts';

/** A mirror that stops answering is only found by waiting: trees that are read in less are not worth it. */
const MIN_FILES = 1_000;
const STALL_LIMIT_S = 5;
const FILES = 1_500;
const READERS = 16;
const KILLS = 2;
const POLL_MS = 20;

/** How a mirror dies: its port refuses connections, or nothing comes any more. */
const DEATHS = [
  { name: 'killed', text: 'is killed', die: (mirror: WebServer): void => mirror.proxy.kill() },
  { name: 'silent', text: 'falls silent', die: (mirror: WebServer): void => mirror.proxy.freeze() },
] as const;

/** The first of two mirrors dies when `tar` of a mount has read half of the bytes. */
export async function measureMirrorDeaths(remote: RemoteRun): Promise<Found> {
  const { bench, tree, inputs, web } = remote;
  const judged: Judged[] = [];
  for (const { name, text, die } of DEATHS) {
    if (name === 'silent' && tree.files < MIN_FILES) continue;
    bench.progress(`tar of the ${tree.name} tree while a mirror ${text}`);
    const mirror = await WebServer.start(`mirror-${name}-${tree.name}`, inputs.www, bench.rtt, bench);
    const address = `${mirror.url(PACKS)}|${web.url(PACKS)}`;
    const { bytes, stallNs } = await withLazyMount(remote, address, inputs.image, [], (root) =>
      archive(root, tree.bytes / 2, () => die(mirror), bench),
    );
    await mirror.end();
    if (bytes < tree.bytes) throw new CfsError('system', `tar read ${bytes} bytes, and the tree has ${tree.bytes}`);
    judged.push({
      figure: `mirror_${name}_stall_seconds`,
      text: `a mirror ${text} in the middle of tar: no error, longest stall in seconds`,
      value: stallNs / 1e9,
      goal: { kind: 'at most', limit: STALL_LIMIT_S },
    });
  }
  return { results: [], judged };
}

/**
 * Archives everything below `root`, and calls `then` once after `bytes`.
 * @returns the size of the archive, and the longest time after that in which nothing came
 * @throws CfsError (system) if tar reports an error
 */
async function archive(
  root: string,
  bytes: number,
  then: () => void,
  { signal }: Bench,
): Promise<{ readonly bytes: number; readonly stallNs: number }> {
  const child = spawn('tar', ['-cf', '-', '-C', root, '.'], { stdio: ['ignore', 'pipe', 'pipe'], signal });
  let [sum, stallNs, errors] = [0, 0, ''];
  let last: bigint | undefined;
  child.stderr.on('data', (piece: Buffer) => {
    errors += piece.toString().slice(0, 1000);
  });
  child.stdout.on('data', (piece: Buffer) => {
    const now = process.hrtime.bigint();
    if (last !== undefined) stallNs = Math.max(stallNs, Number(now - last));
    sum += piece.length;
    if (last === undefined && sum < bytes) return;
    if (last === undefined) then();
    last = process.hrtime.bigint();
  });
  const status = await statusOf(child);
  signal.throwIfAborted();
  if (status === 0) return { bytes: sum, stallNs };
  throw new CfsError('system', `tar ended with status ${status}: ${errors.trim()}`);
}

async function statusOf(child: ChildProcess): Promise<number | string> {
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return code ?? signal ?? 'unknown';
}

/** The server of a mount is killed twice while many readers wait for objects, each of which is a request. */
export async function measureServerDeaths(remote: RemoteRun): Promise<Found> {
  const { bench, tree, inputs, web } = remote;
  const list = await someFiles(tree, FILES, remote);
  bench.progress(`killing the server of a mount of the ${tree.name} tree`);
  await web.traffic();
  const kills = await withLazyMount(remote, web.url(PLAIN), inputs.image, [], async (root, { pid }) => {
    const state = { reading: true };
    const read = readFiles(root, list, READERS, bench).finally(() => {
      state.reading = false;
    });
    read.catch(() => undefined); // it is awaited below
    let count = 0;
    for (
      let server = pid;
      server !== undefined && count < KILLS;
      server = await nextServer(root, server, state, bench)
    ) {
      // readers are at work: between two answers, most of them wait
      for (let seen = 0; state.reading && seen < READERS; seen += (await web.traffic()).requests) await sleep(POLL_MS);
      if (!state.reading) break;
      process.kill(server, 'SIGKILL');
      count++;
    }
    await read;
    return count;
  });
  const text = `the server of the mount killed while ${READERS} readers waited: ${list.count} files, 0 errors; times`;
  return {
    results: [],
    judged: [{ figure: 'server_kills', text, value: kills, goal: { kind: 'at least', limit: 1 } }],
  };
}

/** The process id of the server that follows `killed`; undefined if nobody reads any more. */
async function nextServer(
  mountpoint: string,
  killed: number,
  state: { readonly reading: boolean },
  { signal }: Bench,
): Promise<number | undefined> {
  while (state.reading) {
    const { stdout } = await run(toolCommand('cfs-info', 'mounts', '--json'), signal, 'collect');
    const mounts = JSON.parse(stdout.toString()) as { readonly mountpoint: string; readonly pid?: number }[];
    const pid = mounts.find((one) => one.mountpoint === mountpoint)?.pid;
    if (pid !== undefined && pid !== killed) return pid;
    await sleep(POLL_MS);
  }
  return undefined;
}
