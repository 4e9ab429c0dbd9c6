/** Where this program is installed, and its version. */
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The directory of package.json. This module lies in src/base where it runs from sources; built, it is part of some file below dist/. */
const ROOT = rootOf(fileURLToPath(import.meta.url));

function rootOf(module: string): string {
  if (module.endsWith('.ts')) return resolve(dirname(module), '../..');
  return module.slice(0, module.lastIndexOf('/dist/'));
}

/** The path of a file that is no module, as "libexec/cfs-supervisor". */
export const installedPath = (name: string): string => join(ROOT, 'dist', name);

/**
 * Programs that run as a process or thread of their own, and the module that each is built of (`scripts/bundle.mjs`). They lie
 * in `dist/libexec`, wherever their modules lie: the supervisors of living mounts start `cfs-serve.js` of the next version
 * by its path. Those that end in `.cjs` are scripts, whose text is handed to a thread: text has no address from which modules
 * could be found.
 */
export const PROGRAMS = {
  'cfs-serve.js': 'src/mount/daemon-main',
  'cfs-serve-worker.cjs': 'src/mount/threads/worker',
  'cfs-readahead-worker.cjs': 'src/mount/threads/readahead-worker',
  'cfs-pack-worker.js': 'src/pack/content-worker',
  'cfs-check-worker.js': 'src/store/check/check-worker',
  'cfs-hold-names.js': 'src/checkpoint/holder-main',
  'cfs-ask-mounts.js': 'tools/info/ask-mounts',
  'cfs-read-tables.js': 'tools/info/tables-worker',
} as const;

/** The path of a built program. */
export const programPath = (name: keyof typeof PROGRAMS): string => installedPath(`libexec/${name}`);

/** Where supervisors of mounts that version 0.1.0 made look for `cfs-serve.js`. */
export const FORMER_SERVER: string = installedPath('src/mount/daemon-main.js');

/** That of package.json. */
export function version(): string {
  try {
    return (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}
