import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

let checkout: string;
const at = (path: string): string => join(checkout, path);
const file = 'dist/file';

/** A checkout with the script and stand-ins for the programs it runs; the file of the last build contains "before". */
beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'cfs-build-'));
  for (const name of ['bin', 'scripts', 'libexec', 'dist']) mkdirSync(at(name));
  copyFileSync(join(import.meta.dirname, '../../scripts/build'), at('scripts/build'));
  program('bin/tsc', 'mkdir -p "$4/libexec"; echo after >"$4/file"');
  program('bin/node', 'test "$2" = dist.new');
  writeFileSync(at('libexec/script'), '');
  writeFileSync(at(file), 'before\n');
});

afterEach(() => rmSync(checkout, { recursive: true }));

function program(path: string, text: string): void {
  writeFileSync(at(path), `#!/bin/sh\n${text}\n`);
  chmodSync(at(path), 0o755);
}

const build = (): number | NodeJS.Signals | null => {
  const { status, signal } = spawnSync(at('scripts/build'), {
    env: { ...process.env, PATH: `${at('bin')}:${process.env['PATH']}` },
  });
  return signal ?? status;
};

const directories = (): string[] => readdirSync(checkout).filter((name) => name.startsWith('dist'));

test('a build replaces dist/ at its end', () => {
  program('bin/node', `grep -q before ${file}`);
  expect(build()).toBe(0);
  expect(readFileSync(at(file), 'utf8')).toBe('after\n');
  expect(existsSync(at('dist/libexec/script'))).toBe(true);
  expect(directories()).toEqual(['dist']);
});

test('a first build makes dist/', () => {
  rmSync(at('dist'), { recursive: true });
  expect(build()).toBe(0);
  expect(readFileSync(at(file), 'utf8')).toBe('after\n');
});

test.each([
  ['tsc', 'mkdir -p "$4"; echo after >"$4/file"; exit 2', 2],
  ['node', 'exit 1', 1],
  ['cp', 'exit 1', 1],
])('dist/ is unchanged if %s fails', (name, text, status) => {
  program(`bin/${name}`, text);
  expect(build()).toBe(status);
  expect(readFileSync(at(file), 'utf8')).toBe('before\n');
  expect(directories()).toEqual(['dist']);
});

test('a killed build leaves dist/, and nothing in the way of the next one', () => {
  program('bin/node', 'kill -KILL $PPID');
  expect(build()).toBe('SIGKILL');
  expect(readFileSync(at(file), 'utf8')).toBe('before\n');
  program('bin/node', '[ ! -e dist.new/of-the-killed ]');
  writeFileSync(at('dist.new/of-the-killed'), '');
  expect(build()).toBe(0);
  expect(directories()).toEqual(['dist']);
});

test('dist/ is restored if a build was killed between its two renames', () => {
  renameSync(at('dist'), at('dist.old'));
  program('bin/tsc', 'exit 2');
  expect(build()).toBe(2);
  expect(readFileSync(at(file), 'utf8')).toBe('before\n');
  expect(directories()).toEqual(['dist']);
});
