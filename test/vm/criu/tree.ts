/** The tree of the checkpointed process, in two versions, with its programs. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Records of 16 bytes, "name 00000042\n" padded with blanks, which show their position. */
export const record = (name: string, index: number): string => `${name.padEnd(6)} ${String(index).padStart(8, '0')}`;

function records(name: string, count: number): string {
  return Array.from({ length: count }, (_, index) => `${record(name, index)}\n`).join('');
}

/** Compiles a C file of this directory, or `code`. */
export function compile(output: string, source: string | { readonly code: string }, ...options: string[]): void {
  mkdirSync(dirname(output), { recursive: true });
  const isFile = typeof source === 'string';
  const input = isFile ? [join(import.meta.dirname, source)] : ['-x', 'c', '-'];
  const flags = ['-O1', '-Wall', '-Wextra', '-Werror', '-Wl,--build-id'];
  execFileSync('gcc', [...flags, '-o', output, ...input, ...options], { input: isFile ? '' : source.code });
}

/** Writes a version. The files in `changed/` and the plugin differ; all others are the same. */
export function writeTree(root: string, version: 1 | 2): void {
  const write = (name: string, content: string): void => {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  };
  const lib = join(root, 'lib');
  compile(join(lib, 'libholder.so'), 'libholder.c', '-shared', '-fPIC');
  compile(join(root, 'bin/holder'), 'holder.c', `-L${lib}`, '-lholder', '-Wl,-rpath,$ORIGIN/../lib');
  // same size, another build-id
  compile(join(lib, 'plugin.so'), { code: `int version(void) { return ${version}; }` }, '-shared', '-fPIC');

  write('data/numbers', records('number', 10_000));
  write('data/inline', records('inline', 3)); // small enough to be in the image itself
  write('data/mapped', records('mapped', 1_000));
  for (let i = 10; i < 60; i++) write(`list/entry-${i}`, `${i}\n`);
  write('watched/file', records('file', 100));
  write('watched/directory/inside', records('inside', 100));

  write('changed/size', records('size', 99 + version));
  write('changed/content', records(`same-${version}`, 100));
  write('changed/mode', records('mode', 100));
  chmodSync(join(root, 'changed/mode'), version === 1 ? 0o644 : 0o600);
  if (version === 1) write('changed/removed', records('gone', 100));
  else write('a-new-file', 'which sorts before all others\n');
}
