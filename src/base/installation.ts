/** The directory of this program, and its version. */
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The directory of package.json. This module is in src/base when it runs from sources; built, it is part of some file
 * below dist/.
 */
const ROOT = rootOf(fileURLToPath(import.meta.url));

function rootOf(module: string): string {
  if (module.endsWith('.ts')) return resolve(dirname(module), '../..');
  return module.slice(0, module.lastIndexOf('/dist/'));
}

/** The path of a file that is not a module, such as "libexec/cfs-supervisor". */
export const installedPath = (name: string): string => join(ROOT, 'dist', name);

/**
 * Programs that run as a separate process or thread, and the module that each is built from (`scripts/bundle.mjs`).
 * They are in `dist/libexec`, wherever their modules are: the supervisors of living mounts start `cfs-serve.js` of the
 * next version by its path. Those that end in `.cjs` are scripts, whose text is handed to a thread: text has no address
 * for resolving modules.
 */
export const PROGRAMS = {
  'cfs-serve.js': 'src/mount/daemon-main',
  'cfs-serve-worker.cjs': 'src/mount/threads/worker',
  'cfs-serve-layered-worker.cjs': 'src/mount/threads/layered-worker',
  'cfs-readahead-worker.cjs': 'src/mount/threads/readahead-worker',
  'cfs-fetch-worker.cjs': 'src/mount/threads/fetch-worker',
  'cfs-pack-worker.js': 'src/pack/content-worker',
  'cfs-extract-worker.js': 'src/extract/extract-worker',
  'cfs-read-worker.js': 'src/extract/piece-worker',
  'cfs-copy-worker.js': 'src/transfer/copy-worker',
  'cfs-pull-worker.js': 'src/transfer/pull-worker',
  'cfs-check-worker.js': 'src/store/check/check-worker',
  'cfs-hold-names.js': 'src/checkpoint/holder-main',
  'cfs-ask-mounts.js': 'tools/info/ask-mounts',
  'cfs-read-tables.js': 'tools/info/tables-worker',
} as const;

/** The path of a built program. */
export const programPath = (name: keyof typeof PROGRAMS): string => installedPath(`libexec/${name}`);

/** The path in `dist` at which supervisors of mounts made by version 0.1.0 look for `cfs-serve.js`. */
export const FORMER_SERVER = 'src/mount/daemon-main.js';

/** The version in package.json. */
export function version(): string {
  try {
    return (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}
