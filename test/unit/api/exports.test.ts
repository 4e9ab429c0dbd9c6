/** The exports of the library, and that each of them is described. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DECLARATIONS, exportsOf } from '../../support/library-examples.ts';

const ROOT = join(import.meta.dirname, '../../..');

const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, { types: string; default: string } | string>;
};

/** The source file of a built module. */
const sourceOf = (built: string): string => built.replace(/^\.\/dist\//, '').replace(/\.js$/, '.ts');

const modules = Object.entries(exports).flatMap(([path, target]) =>
  typeof target === 'string' ? [] : [{ path, file: sourceOf(target.default), types: target.types }],
);

test('cfs exports everything that the modules below it export, and nothing else', () => {
  expect(modules.map(({ path }) => path)).toEqual([
    '.',
    './image',
    './extract',
    './store',
    './mount',
    './pack',
    './diff',
    './transfer',
    './usage',
  ]);
  const below = modules.filter(({ path }) => path !== '.').flatMap(({ file }) => exportsOf(file));
  expect(exportsOf('src/index.ts')).toEqual([...below, 'CfsError', 'ErrorKind'].sort());
});

test('types are declared beside the code that is loaded', () => {
  for (const { file, types } of modules) expect(types).toBe(`./dist/${file.replace(/\.ts$/, '.d.ts')}`);
});

test.each(exportsOf('src/index.ts'))('%s has a docstring with an example', (name) => {
  const declaration = DECLARATIONS.get(name);
  expect(declaration?.docstring.trim().length).toBeGreaterThan(20);
  expect(declaration?.example).toMatch(/^import .* from '@cfs-images\/cfs(?:\/\w+)?';$/m);
  expect(declaration?.example).toMatch(new RegExp(`\\b${name}\\b`));
});
