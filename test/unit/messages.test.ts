/** No message of src/ is for a command line: advice for the user is a hint in the words of the library. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAst } from 'rolldown/parseAst';
import { expect, test } from 'vitest';
import { HINT_WORDS } from '../../tools/hint-words.ts';

const ROOT = join(import.meta.dirname, '../..');

interface Literal {
  readonly file: string;
  readonly text: string;
}

interface Node {
  readonly type: string;
  readonly value?: unknown;
  readonly quasis?: readonly { readonly value: { readonly cooked: string } }[];
}

/** The text of a string, or of a template with "…" for its expressions. */
function textOf({ type, value, quasis }: Node): string | undefined {
  if (type === 'Literal' && typeof value === 'string') return value;
  return type === 'TemplateLiteral' ? quasis?.map((quasi) => quasi.value.cooked).join('…') : undefined;
}

function* nodesOf(value: unknown): Generator<Node> {
  if (Array.isArray(value)) for (const item of value) yield* nodesOf(item);
  else if (typeof value === 'object' && value !== null) {
    if ('type' in value) yield value as Node;
    for (const item of Object.values(value)) yield* nodesOf(item);
  }
}

const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.ts'),
);

const sources = new Map(files.map((file) => [file, readFileSync(join(ROOT, 'src', file), 'utf8')]));

const literals: readonly Literal[] = [...sources].flatMap(([file, source]) =>
  [...nodesOf(parseAst(source, { lang: 'ts' }).body)].flatMap((node) => {
    const text = textOf(node);
    return text === undefined ? [] : [{ file, text }];
  }),
);

const tools = Object.keys(
  (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { bin: Record<string, string> }).bin,
);

/** Names of processes, in a log and in the list of processes. */
const PROCESS_NAMES = /^cfs-mount$|^cfs-mount(?:\[…\])?: …|^cfs-mount … …$|^cfs-checkpoint holds names of …/;

/** Commands of other programs. */
const OTHERS = /'(?:unshare|openssl|tune2fs|umount|mount|modprobe|chmod|git|ulimit) [^']*'/g;

test('finds the messages', () => {
  expect(literals.length).toBeGreaterThan(1000);
  expect(literals.map(({ text }) => text)).toContain('Cannot mount on …: …');
});

test('no message of src/ names a command', () => {
  const name = new RegExp(`(?<![\\w/.-])(?:${tools.join('|').replaceAll('.', '\\.')})(?![\\w-]|\\.\\w)`);
  const bad = literals.filter(({ text }) => name.test(text) && !PROCESS_NAMES.test(text));
  expect(bad).toEqual([]);
});

test('no message of src/ names an option of a command line', () => {
  const option = /[\s(,;:"]--[a-z]|^--[a-z-]+ |^-o |[\s'"(]-o ?[a-z…]/;
  const bad = literals.filter(({ text }) => option.test(text.replace(OTHERS, '')));
  expect(bad).toEqual([]);
});

test('the tools have words for exactly the functions and options that hints name', () => {
  const named = literals.flatMap(({ text }) => [...text.matchAll(/`([\w.=]+)(?:\(.*?\))?`/g)].map(([, word]) => word));
  const called = [...sources.values()].flatMap((source) =>
    [...source.matchAll(/\bcallText\('(\w+)'/g)].map(([, word]) => word),
  );
  expect([...new Set([...named, ...called])].sort()).toEqual(Object.keys(HINT_WORDS).sort());
});
