/** A build of cfs with one thing left out, to show that a test notices. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/**
 * Copies the project in `original` to `directory` without the answer to INIT that makes handles last. Of its cfs-mount only
 * `--foreground` has the change: the daemon's program is one file of its own.
 */
export function copyWithoutExportSupport(original: string, directory: string): void {
  mkdirSync(directory);
  for (const part of ['dist', 'package.json']) cpSync(join(original, part), join(directory, part), { recursive: true });
  symlinkSync(relative(directory, join(original, 'node_modules')), join(directory, 'node_modules'));
  const path = join(directory, 'dist/src/fuse/init.js');
  const text = readFileSync(path, 'utf8');
  const changed = text.replace(/^\s*abi\.EXPORT_SUPPORT,\n/m, '');
  if (changed === text) throw new Error('src/fuse/init.ts does not name EXPORT_SUPPORT as this expects');
  writeFileSync(path, changed);
}
