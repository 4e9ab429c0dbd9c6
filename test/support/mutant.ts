/** A build of cfs with one change, to show that a test notices. */
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/**
 * Copies the project in `original` to `directory`, and changes the built programs that have `pattern`. Throws an error
 * if none has it.
 */
export function copyWithChange(original: string, directory: string, pattern: RegExp, replacement: string): void {
  mkdirSync(directory);
  for (const part of ['dist', 'package.json']) cpSync(join(original, part), join(directory, part), { recursive: true });
  symlinkSync(relative(directory, join(original, 'node_modules')), join(directory, 'node_modules'));
  // it may be in several of the built programs
  let changes = 0;
  for (const name of readdirSync(join(directory, 'dist'), { recursive: true, encoding: 'utf8' })) {
    if (!/\.c?js$/.test(name)) continue;
    const path = join(directory, 'dist', name);
    const text = readFileSync(path, 'utf8');
    const changed = text.replace(pattern, replacement);
    if (changed === text) continue;
    writeFileSync(path, changed);
    changes++;
  }
  if (changes === 0) throw new Error(`no program in ${original}/dist has ${pattern}`);
}
