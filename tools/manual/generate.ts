/**
 * Writes the manual pages and completions of the tools, from what they say about themselves:
 * `node dist/tools/manual/generate.js DIST`, which `scripts/build` runs. They go to DIST/share.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { CommandDefinition } from '../definition.ts';
import { bashCompletion } from './bash.ts';
import { completionsOf } from './completion.ts';
import { fishCompletion } from './fish.ts';
import { rowsOf } from './markdown-tables.ts';
import { toolPage } from './page.ts';
import { zshCompletion } from './zsh.ts';

const TOOLS = ['cfs-checkpoint', 'cfs-info', 'cfs-mkimage', 'cfs-mount', 'cfs-repo'] as const;

const dist = resolve(process.argv[2] ?? 'dist');
const root = resolve(dist, '..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

function write(path: string, text: string): void {
  const file = join(dist, 'share', path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
}

const handWritten = readdirSync(join(root, 'man'));
const context = {
  // one date for all pages, so that a build can be repeated
  date: /^\.Dd (.*)$/m.exec(read('man/cfs.7'))?.[1] ?? '',
  statuses: rowsOf(read('docs/exit-status.md'), 'status'),
  variables: rowsOf(read('docs/environment.md'), 'variable'),
};

for (const name of handWritten) {
  const file = join(dist, 'share/man', `man${name.slice(-1)}`, name);
  mkdirSync(join(file, '..'), { recursive: true });
  copyFileSync(join(root, 'man', name), file);
}

for (const name of TOOLS) {
  const program = join(dist, 'tools', `${name}.js`);
  const text = execFileSync(process.execPath, [program, '--definition'], { encoding: 'utf8' });
  const definition = JSON.parse(text) as CommandDefinition;
  const completed = completionsOf(definition);
  write(`man/man1/${name}.1`, toolPage(definition, context));
  write(`bash-completion/completions/${name}`, bashCompletion(completed));
  write(`zsh/vendor-completions/_${name}`, zshCompletion(completed));
  write(`fish/vendor_completions.d/${name}.fish`, fishCompletion(completed));
}
