/** Compares the table of folders in docs/architecture.md with the imports. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

/** A row of the table. */
interface Folder {
  readonly path: string;
  /** Folders or files below src; "all" for any. Its own folder is always allowed. */
  readonly mayImport: readonly string[];
  /** Packages and `node:` modules that it may not import. */
  readonly forbidden: readonly string[];
}

/** Rows "| `src/a` `src/b` | job | base, system; not node:fs |" of the section Folders. */
function foldersOf(markdown: string): Folder[] {
  const section = /^## Folders$([\s\S]*?)^## /m.exec(markdown)?.[1] ?? '';
  const rows = [...section.matchAll(/^\| (`[^|]+`) \|[^|]+\|([^|]*)\|$/gm)];
  return rows.flatMap(([, names = '', imports = '']) => {
    const [may = '', not = ''] = imports.split('; not ');
    const words = (text: string): string[] => [...text.matchAll(/[\w:./-]+/g)].map(([word]) => word);
    const folder = { mayImport: words(may), forbidden: words(not) };
    return [...names.matchAll(/`([^`]+)`/g)].map(([, path = '']) => ({ path, ...folder }));
  });
}

const folders = foldersOf(readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8'));

const files = ['src', 'tools', 'bench', 'test']
  .flatMap((top) => readdirSync(join(ROOT, top), { recursive: true, encoding: 'utf8' }).map((name) => join(top, name)))
  .filter((path) => path.endsWith('.ts'))
  .sort();

/** Everything that a file imports, types as well: paths from the root, or names of packages. */
function importsOf(file: string): string[] {
  return namedIn(file, readFileSync(join(ROOT, file), 'utf8'));
}

/** The modules that a file loads when it runs; imports of types load nothing. */
const loadedBy = (file: string): string[] =>
  namedIn(file, readFileSync(join(ROOT, file), 'utf8').replace(/^(?:import|export) type [^;]*;/gm, ''));

function namedIn(file: string, text: string): string[] {
  const specifiers = [
    ...text.matchAll(/^(?:import|export)\s[^;'"]*?from '([^']+)'/gm),
    ...text.matchAll(/^import '([^']+)'/gm),
    ...text.matchAll(/\bimport\('([^']+)'\)/g),
  ].map(([, specifier = '']) => specifier);
  return specifiers.map((name) => (name.startsWith('.') ? relative(ROOT, join(ROOT, dirname(file), name)) : name));
}

const imports = new Map(files.map((file) => [file, importsOf(file)]));

/** The row that a file belongs to: that with the longest path above it. */
function folderOf(file: string): Folder | undefined {
  const above = folders.filter(({ path }) => file.startsWith(`${path}/`));
  return above.sort((a, b) => b.path.length - a.path.length)[0];
}

/** "src/base" is called "base" in the last column, and "src/store/gc" "store/gc". */
const shortName = (path: string): string => path.replace(/^src\//, '');

/** The word of the row that allows the import; undefined if there is none. */
function permission(from: Folder, target: string): string | undefined {
  const to = folderOf(target);
  const names = [shortName(target), to === undefined ? '' : shortName(to.path), 'all'];
  return from.mayImport.find((word) => names.includes(word));
}

const isOwn = (from: Folder, target: string): boolean => folderOf(target) === from;

describe('the table of folders in docs/architecture.md', () => {
  test('lists every folder with sources', () => {
    expect(folders.length).toBeGreaterThan(10);
    expect(files.filter((file) => folderOf(file) === undefined)).toEqual([]);
  });

  test('states the imports that each folder may have, including types and tests', () => {
    const violations: string[] = [];
    for (const [file, targets] of imports) {
      const from = folderOf(file);
      if (from === undefined) continue;
      for (const target of targets) {
        const isAllowed = imports.has(target)
          ? isOwn(from, target) || permission(from, target) !== undefined
          : !from.forbidden.includes(target);
        if (!isAllowed) violations.push(`${file} imports ${target}`);
      }
    }
    expect(violations).toEqual([]);
  });

  test('allows nothing unnecessary', () => {
    const needed = new Map(folders.map((folder) => [folder, new Set<string | undefined>(['all'])]));
    for (const [file, targets] of imports) {
      const from = folderOf(file);
      if (from === undefined) continue;
      for (const target of targets) {
        if (imports.has(target) && !isOwn(from, target)) needed.get(from)?.add(permission(from, target));
      }
    }
    const unused = folders.flatMap((folder) =>
      folder.mayImport.filter((word) => !needed.get(folder)?.has(word)).map((word) => `${folder.path}: ${word}`),
    );
    expect(unused).toEqual([]);
  });
});

/** Modules that change the process that loads them, or that are for a process of their own. */
const PROCESS_WIDE = ['base/no-debugger', 'system/exact-paths', 'mount/mount-keeper', 'mount/process-log'];

test('the library loads no module that changes its process', () => {
  const loaded = new Set(['src/index.ts']);
  for (const file of loaded) for (const target of loadedBy(file)) if (imports.has(target)) loaded.add(target);
  expect(loaded.size).toBeGreaterThan(50);
  expect([...loaded].filter((file) => PROCESS_WIDE.some((name) => file === `src/${name}.ts`))).toEqual([]);
  expect(PROCESS_WIDE.filter((name) => !imports.has(`src/${name}.ts`))).toEqual([]);
});

/**
 * Groups of files that reach each other through imports (Tarjan, Depth-first search and linear graph algorithms, 1972).
 */
function circles(): string[][] {
  const [index, low] = [new Map<string, number>(), new Map<string, number>()];
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (file: string): void => {
    const own = index.size;
    index.set(file, own);
    low.set(file, own);
    stack.push(file);
    for (const target of imports.get(file) ?? []) {
      if (!imports.has(target)) continue;
      if (!index.has(target)) visit(target);
      if (stack.includes(target)) low.set(file, Math.min(low.get(file) as number, low.get(target) as number));
    }
    if (low.get(file) !== own) return;
    const circle = stack.splice(stack.indexOf(file));
    if (circle.length > 1) found.push(circle);
  };
  for (const file of files) if (!index.has(file)) visit(file);
  return found;
}

test('no file imports itself through others, not even for types', () => {
  expect(circles()).toEqual([]);
});
