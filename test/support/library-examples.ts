/** The examples in the docstrings of the library. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

/** The files with declarations of the library. */
const FILES: readonly string[] = [
  ...readdirSync(join(ROOT, 'src/api')).map((name) => `src/api/${name}`),
  'src/base/error.ts',
];

export interface Declaration {
  readonly name: string;
  /** Without the comment's stars. */
  readonly docstring: string;
  /** The program after `@example`; empty if there is none. */
  readonly example: string;
}

const DECLARATION =
  /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\nexport (?:type|interface|class|const|(?:async )?function\*?) (\w+)/g;

function declarationsOf(source: string): Declaration[] {
  return [...source.matchAll(DECLARATION)].map(([, comment = '', name = '']) => {
    const docstring = comment.replace(/^ ?\* ?/gm, '');
    return { name, docstring, example: /@example\n([\s\S]*)$/.exec(docstring)?.[1]?.trim() ?? '' };
  });
}

/** By their names. */
export const DECLARATIONS: ReadonlyMap<string, Declaration> = new Map(
  FILES.flatMap((file) => declarationsOf(readFileSync(join(ROOT, file), 'utf8'))).map((each) => [each.name, each]),
);

/** The names that a module of src/ exports, its types included: `export { a, type B } from …` and declarations. */
export function exportsOf(file: string): string[] {
  const source = readFileSync(join(ROOT, file), 'utf8');
  const lists = [...source.matchAll(/^export (?:type )?\{([^}]*)\} from/gm)].flatMap(([, list = '']) =>
    list.split(','),
  );
  const names = lists.map((name) => name.trim().replace(/^type /, '')).filter((name) => name !== '');
  return [...names, ...declarationsOf(source).map(({ name }) => name)].sort();
}
