/** A root directory with node and a few programs of the machine, and nothing for building: no compiler, no npm. */
import { cpSync, existsSync, mkdirSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Outcome, run, succeed } from './run.ts';

/** What the tools, the supervisor and the steps of a test call. */
const PROGRAMS = [
  'sh',
  'env',
  'cmp',
  'mount',
  'umount',
  'cat',
  'ls',
  'mkdir',
  'rm',
  'sleep',
  'date',
  'sync',
  'sed',
  'grep',
];

/** Programs and libraries, at the paths that they have on this machine; node is /usr/bin/node. */
export async function makeCleanRoot(root: string, more: readonly string[] = []): Promise<void> {
  // as on Debian, where these are links
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(root, name));
  }
  for (const name of ['dev', 'proc', 'tmp', 'etc', 'root', 'var/lib', 'mnt']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  const found = await succeed(['sh', '-c', 'for name; do command -v "$name"; done', 'sh', ...PROGRAMS, ...more]);
  const programs = found.trim().split('\n');
  for (const program of programs) copy(program, join(root, program));
  copy(process.execPath, join(root, 'usr/bin/node'));
  const { stdout } = await run(['ldd', process.execPath, ...programs]);
  for (const [, library = ''] of stdout.matchAll(/(?:=> |^\t)(\/\S+) \(0x/gm)) copy(library, join(root, library));
}

/** The content of a program, at a path in the root; links of the root are followed. */
function copy(from: string, to: string): void {
  if (existsSync(to)) return;
  mkdirSync(dirname(to), { recursive: true });
  cpSync(realpathSync(from), to);
}

/**
 * Runs a script of sh in the root, with /dev and /proc of this machine, in mount and process namespaces of its own:
 * mounts and servers end with it.
 */
export function runInRoot(root: string, script: string): Promise<Outcome> {
  const enter = `mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -ec "$1"`;
  const namespaces = ['unshare', '--mount', '--pid', '--fork', '--kill-child'];
  return run(['env', '-i', 'PATH=/usr/sbin:/usr/bin', ...namespaces, 'sh', '-c', enter, root, script]);
}
