/** A build of cfs without one feature, to show that a test notices. */
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Copies the project in `original` to `directory`, without the flag of INIT that makes handles last. */
export function copyWithoutExportSupport(original: string, directory: string): void {
  mkdirSync(directory);
  for (const part of ['dist', 'package.json']) cpSync(join(original, part), join(directory, part), { recursive: true });
  symlinkSync(relative(directory, join(original, 'node_modules')), join(directory, 'node_modules'));
  // it is in several of the built programs
  let changes = 0;
  for (const name of readdirSync(join(directory, 'dist'), { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.js')) continue;
    const path = join(directory, 'dist', name);
    const text = readFileSync(path, 'utf8');
    // the bundler replaces names by numbers
    const changed = text.replace(/(ALWAYS_WANTED = \[\s*(?:0|abi\.ASYNC_READ),)\s*(?:4|abi\.EXPORT_SUPPORT),/, '$1');
    if (changed === text) continue;
    writeFileSync(path, changed);
    changes++;
  }
  if (changes === 0) throw new Error('src/fuse/init.ts does not name EXPORT_SUPPORT as this expects');
}
