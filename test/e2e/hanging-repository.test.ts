/** A repository that does not answer blocks only readers that need it. It lies in a mount whose daemon is stopped. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Mounted, useScratch } from './harness.ts';
import { contentOf, FAR_FILES, farFile, mountFar, type NearAndFar, packNearAndFar } from './near-and-far.ts';
import { HERE, succeed } from './run.ts';
import { dropCaches, isSupervisor, sessionMembers, until } from './system.ts';

const scratch = useScratch();

let stores: NearAndFar;
const readers: ChildProcess[] = [];
let stopped: number | undefined;

beforeAll(async () => {
  stores = await packNearAndFar(scratch);
});

afterEach(() => {
  if (stopped !== undefined) process.kill(stopped, 'SIGCONT');
  stopped = undefined;
  for (const reader of readers.splice(0)) reader.kill('SIGKILL');
});

/** Mounts the image over the near store and the far one, whose daemon then stops. */
async function mountOverStopped(words: readonly string[]): Promise<Mounted> {
  const far = await mountFar(scratch, stores);
  const mounted = await scratch.mount(stores.image, { repos: [scratch.store, far.path], words });
  readdirSync(mounted.path);
  dropCaches();
  process.kill(far.pid, 'SIGSTOP');
  stopped = far.pid;
  return mounted;
}

function startReader(path: string): { readonly child: ChildProcess; readonly text: () => string } {
  const child = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'ignore'] });
  readers.push(child);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return { child, text: () => text };
}

/** Whether the process waits in the kernel for a FUSE server, or for a page from one. */
const isWaiting = (pid: number): boolean =>
  /request_wait|folio_wait/.test(readFileSync(`/proc/${pid}/stack`, 'latin1'));

describe.each(['verify=open', 'verify=read', 'verify=off', 'threads=1'])(
  'with %s and a repository that does not answer',
  (word) => {
    test('readers of other files are served, and waiting readers are served when it answers again', async () => {
      const mounted = await mountOverStopped([word]);
      const waiting = Array.from({ length: 6 }, (_, i) => ({ i, ...startReader(mounted.at(farFile(i))) }));
      await until('all wait', () => waiting.every(({ child }) => isWaiting(child.pid as number)));
      expect(await succeed(HERE.command('cat', mounted.at('near')))).toBe(contentOf('near'));
      expect(await succeed(HERE.command('ls', mounted.path))).toContain(farFile(FAR_FILES - 1));
      process.kill(stopped as number, 'SIGCONT');
      stopped = undefined;
      await Promise.all(waiting.map(({ child }) => once(child, 'close')));
      for (const { i, text } of waiting) expect(text()).toBe(contentOf(farFile(i)));
    });

    test('a server that takes over serves other files, whether the repository answers or is dead', async () => {
      const mounted = await mountOverStopped([word]);
      process.kill(mounted.pid, 'SIGKILL');
      expect(await succeed(HERE.command('cat', mounted.at('near')))).toBe(contentOf('near'));
      process.kill(stopped as number, 'SIGKILL');
      stopped = undefined;
      dropCaches();
      expect(await succeed(HERE.command('cat', mounted.at('near')))).toBe(contentOf('near'));
      const server = sessionMembers(mounted.pid).find((pid) => !isSupervisor(pid));
      process.kill(server as number, 'SIGKILL');
      expect(await succeed(HERE.command('cat', mounted.at('near')))).toBe(contentOf('near'));
      await mounted.end();
    });

    test('waiting readers can be killed, and leave nothing behind', async () => {
      const mounted = await mountOverStopped([word]);
      const { child } = startReader(mounted.at(farFile(7)));
      await until('it waits', () => isWaiting(child.pid as number));
      child.kill('SIGINT');
      const [, signal] = (await once(child, 'exit')) as [number | null, string | null];
      expect(signal).toBe('SIGINT');
      process.kill(stopped as number, 'SIGCONT');
      stopped = undefined;
      expect(readFileSync(mounted.at(farFile(7)), 'utf8')).toBe(contentOf(farFile(7)));
      await mounted.unmount();
    });
  },
);
