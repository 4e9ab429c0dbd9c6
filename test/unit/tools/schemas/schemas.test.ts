/** The schemas themselves, and that the test's validator finds what they do not allow. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { OUTPUTS, schemaName, schemaOf } from '../../../../tools/schemas/schemas.ts';
import type { JsonSchema } from '../../../../tools/schemas/value.ts';
import {
  count,
  either,
  flag,
  list,
  map,
  matching,
  nothing,
  object,
  oneOf,
  text,
  word,
} from '../../../../tools/schemas/value.ts';
import { commandOf, problemsOfRun, schemas } from '../../../support/json-outputs.ts';
import { problemsOf } from '../../../support/json-schema.ts';

const example = object({
  id: matching(/^[0-9a-f]{4}$/),
  path: text.optional(),
  names: list(text),
  kind: oneOf('a', 'b'),
  size: count,
  by: map(count),
  where: either(word, nothing),
  dead: flag,
});
const good = { id: '00ff', names: ['x'], kind: 'a', size: 1, by: { READ: 1 }, where: null };

test('an object has properties, required keys, and twins for text that is not UTF-8', () => {
  expect(example.json).toMatchObject({
    type: 'object',
    required: ['id', 'names', 'kind', 'size', 'by', 'where'],
    properties: {
      path: { type: 'string' },
      pathBase64: { type: 'string', contentEncoding: 'base64' },
      namesBase64: { type: 'array', items: { type: 'string', contentEncoding: 'base64' } },
    },
  });
  expect(problemsOf(example.json, good)).toEqual([]);
  expect(
    problemsOf(example.json, { ...good, path: 'a\\xff', pathBase64: 'Yf8=', namesBase64: ['eA=='], dead: true }),
  ).toEqual([]);
});

test.each([
  [{ ...good, more: 1 }, '$: "more" is not in the schema'],
  [{ ...good, size: undefined }, '$.size: not integer: undefined'],
  [{ ...good, size: -1 }, '$.size: below 0: -1'],
  [{ ...good, size: 1.5 }, '$.size: not integer: 1.5'],
  [{ ...good, id: '00fg' }, '$.id: not ^[0-9a-f]{4}$: "00fg"'],
  [{ ...good, kind: 'c' }, '$.kind: not one of a,b: "c"'],
  [{ ...good, names: ['x', 1] }, '$.names[1]: not string: 1'],
  [{ ...good, by: { READ: 'x' } }, '$.by.READ: not integer: "x"'],
  [{ ...good, where: 1 }, '$.where: not string: 1'],
  [{ ...good, dead: false }, '$.dead: not one of true: false'],
  [{ ...good, pathBase64: '!' }, '$.pathBase64: not base64: "!"'],
  [[good], '$: not object'],
  [{}, '$: "id" is missing'],
])('%j is refused', (value, problem) => {
  expect(problemsOf(example.json, value)[0]).toContain(problem);
});

test('a keyword that the validator does not know is refused', () => {
  expect(problemsOf({ maximum: 1 } as JsonSchema, 1)).toEqual([
    '$: the schema has the keyword "maximum", which this test does not know',
  ]);
});

describe('each output', () => {
  test.each(Object.keys(OUTPUTS))('%s', (command) => {
    const schema = schemaOf(command);
    expect(schema).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $id: `urn:cfs:json:1:${schemaName(command)}`,
      title: expect.stringContaining(command === 'error' ? 'fails' : command),
    });
    expect(['object', 'array']).toContain(schema?.type);
    expect(schemaName(command)).toMatch(/^[a-z-]+$/);
    // a keyword that the validator does not know, at any depth
    const keywords = new Set<string>();
    JSON.stringify(schema, (key, value: unknown) => {
      if (/^[$a-zA-Z]/.test(key)) keywords.add(key);
      return value;
    });
    expect(keywords.size).toBeGreaterThan(3);
  });

  test('names are different', () => {
    const names = Object.keys(OUTPUTS).map(schemaName);
    expect(new Set(names).size).toBe(names.length);
  });
});

/** The keys of the object, or of each object of the list. */
function keysOf(schema: JsonSchema): string[] {
  const element = schema.type === 'array' ? (schema.items as JsonSchema) : schema;
  const first = element.anyOf?.[0] ?? element;
  return Object.keys(first.properties ?? {});
}

/** All names that a schema has: of keys, and words that values may be. */
function namesOf(schema: JsonSchema): string[] {
  const below = [
    schema.items,
    schema.additionalProperties,
    ...(schema.anyOf ?? []),
    ...Object.values(schema.properties ?? {}),
  ];
  return [
    ...Object.keys(schema.properties ?? {}),
    ...(schema.enum ?? []).map(String),
    ...below.flatMap((each) => (each === undefined ? [] : namesOf(each))),
  ];
}

const PAGE = readFileSync(join(import.meta.dirname, '../../../../docs/json.md'), 'utf8');
const ROWS = [...PAGE.matchAll(/^\| `(.+?)` \| (\w+) \| (.+) \|$/gm)].map(([, command = '', type = '', keys = '']) => ({
  command,
  type,
  keys,
}));

test.each(ROWS.filter(({ keys }) => !keys.startsWith('as ')))('docs/json.md has the keys of $command', (row) => {
  const { command, type, keys } = row;
  const { json } = schemas[command] ?? {};
  expect(json?.type).toBe(type);
  const written = [...keys.matchAll(/`([A-Za-z0-9]+)(\?)?`/g)].map(([, key = '', optional]) => ({ key, optional }));
  const known = new Set(namesOf(json as JsonSchema));
  expect(
    written.filter(({ key }) => !known.has(key)),
    'not in the schema',
  ).toEqual([]);
  const shown = new Set(written.map(({ key }) => key));
  const own = keysOf(json as JsonSchema).filter((key) => !/.Base64$/.test(key));
  expect(
    own.filter((key) => !shown.has(key)),
    'not on the page',
  ).toEqual([]);
});

test.each([
  ['cfs-info', ['stat', '--json', 'a.cfs'], 'cfs-info stat'],
  ['cfs-info', ['--verbose', 'diff', '--json', '--stat', 'a'], 'cfs-info diff --stat'],
  ['cfs-info', ['stat', '--json', '--stat'], 'cfs-info stat'],
  ['cfs-mount', ['--json', 'a.cfs', 'mnt'], 'cfs-mount'],
  ['cfs-mount', ['--json', '--upgrade', 'mnt'], 'cfs-mount --upgrade'],
  ['cfs-mount', ['--json', '--rebase', 'new.cfs', 'mnt'], 'cfs-mount --rebase'],
  ['cfs-info', ['--json'], 'cfs-info'],
])('%s %j is %s', (tool, args, command) => {
  expect(commandOf(tool, args)).toBe(command);
});

test('an output is held against the schema of its command, or that of errors', () => {
  const failed = { error: { kind: 'image', message: 'no', status: 3 } };
  const run = (value: unknown, isOk: boolean): readonly string[] =>
    problemsOfRun('cfs-repo', ['init', '--json', 'x'], JSON.stringify(value), isOk);
  const made = { path: '/x', uuid: '6fa459ea-ee8a-4ca4-894e-db77e160355e', hash: 'blake3' };
  expect(run(made, true)).toEqual([]);
  expect(run({ ...made, new: true }, true)).toEqual(['cfs-repo init: "new" is not in the schema']);
  expect(run(failed, false)).toEqual([]);
  expect(run(failed, true)).not.toEqual([]);
  expect(run({ error: { ...failed.error, more: 1 } }, false)).not.toEqual([]);
  expect(problemsOfRun('cfs-repo', ['init', '--json'], '[', true)).toEqual(['cfs-repo init: not JSON: [']);
  expect(problemsOfRun('cfs-repo', ['init', '--json'], '[', false)).toEqual([]);
  expect(problemsOfRun('cfs-repo', ['nothing', '--json'], '{}', true)).toEqual([
    'there is no schema of "cfs-repo nothing": see CONTRIBUTING.md',
  ]);
  expect(problemsOfRun('cfs-repo', ['init'], 'text', true)).toEqual([]);
});
