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

/** The path of a built program that runs as a process or thread of its own, as "src/mount/daemon-main". */
export const programPath = (name: string): string => installedPath(`${name}.js`);

/** That of package.json. */
export function version(): string {
  try {
    return (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}
