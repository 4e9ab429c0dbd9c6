/** Compares CONTRIBUTING.md with the sources: its table of switches, and the paths that it names. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const PAGE = read('CONTRIBUTING.md');

/** The files that may read or set switches; the corpus of the fuzzers is binary. */
const files = [
  join(ROOT, 'vitest.config.ts'),
  ...['src', 'tools', 'bench', 'libexec', 'scripts', 'test'].flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.includes('test/fuzz/corpus'))
      .map((entry) => join(entry.parentPath, entry.name)),
  ),
];

/** Whether include/cfs.h has the name, or names that begin with it. */
const isOfHeader = (header: string, name: string): boolean => new RegExp(`\\b${name}`).test(header);

test('the table of switches lists exactly the switches in the sources', () => {
  const header = read('include/cfs.h');
  const fields: readonly string[] = read('docs/log.md').match(/\bCFS_[A-Z_]+/g) ?? [];
  const named = new Set(
    files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/\bCFS_[A-Z0-9_]+/g)].map(([name]) => name)),
  );
  const section = /^## Environment switches$([\s\S]*?)^## /m.exec(PAGE)?.[1] ?? '';
  const rows = [...section.matchAll(/^\| ([^|]*)\|/gm)].flatMap(
    ([, names = '']) => names.match(/CFS_[A-Z0-9_]+/g) ?? [],
  );
  expect([...new Set(rows)].sort()).toEqual(
    [...named].filter((name) => !isOfHeader(header, name) && !fields.includes(name)).sort(),
  );
});

test('the files and folders that it names exist', () => {
  const words = [...PAGE.matchAll(/`([\w./-]+)`|\]\(([\w./-]+)/g)].map(([, code, link]) => code ?? link ?? '');
  // built, the kernel's, or a placeholder
  const isElsewhere = (word: string): boolean => /NAME|^dist(?:\.new)?\/|^fs\/fuse\//.test(word);
  const paths = words.filter((word) => /^[\w.-]+\//.test(word) && !isElsewhere(word));
  expect(paths.length).toBeGreaterThan(30);
  expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});
