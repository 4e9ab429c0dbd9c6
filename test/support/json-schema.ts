/**
 * Checks a value against a JSON Schema of tools/schemas, more strictly than a reader does: a key that the schema does
 * not name is a problem, and so is a keyword that this does not know.
 */
import type { JsonSchema } from '../../tools/schemas/value.ts';

type Check = (argument: never, value: unknown, at: string, schema: JsonSchema) => readonly string[];

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
  number: (value) => typeof value === 'number',
  integer: (value) => Number.isSafeInteger(value),
  null: (value) => value === null,
};

const holds = (isSo: boolean, at: string, what: string, value: unknown): readonly string[] =>
  isSo ? [] : [`${at}: ${what}: ${JSON.stringify(value)}`];

const CHECKS: Readonly<Record<string, Check>> = {
  description: () => [],
  $schema: () => [],
  $id: () => [],
  title: () => [],
  type: (type: string, value, at) => holds(TYPES[type]?.(value) === true, at, `not ${type}`, value),
  enum: (words: readonly unknown[], value, at) => holds(words.includes(value), at, `not one of ${words}`, value),
  pattern: (pattern: string, value, at) =>
    typeof value === 'string' ? holds(new RegExp(pattern, 'u').test(value), at, `not ${pattern}`, value) : [],
  contentEncoding: (encoding: string, value, at) =>
    holds(encoding === 'base64' && /^[A-Za-z0-9+/]*=*$/.test(`${value}`), at, 'not base64', value),
  minimum: (least: number, value, at) =>
    typeof value === 'number' ? holds(value >= least, at, `below ${least}`, value) : [],
  items: (schema: JsonSchema, value, at) =>
    Array.isArray(value) ? value.flatMap((item, i) => problemsOf(schema, item, `${at}[${i}]`)) : [],
  properties: (properties: Readonly<Record<string, JsonSchema>>, value, at) =>
    isObject(value)
      ? Object.entries(value).flatMap(([key, item]) => {
          const schema = Object.hasOwn(properties, key) ? properties[key] : undefined;
          return schema === undefined
            ? [`${at}: "${key}" is not in the schema`]
            : problemsOf(schema, item, `${at}.${key}`);
        })
      : [],
  required: (keys: readonly string[], value, at) =>
    isObject(value) ? keys.filter((key) => !Object.hasOwn(value, key)).map((key) => `${at}: "${key}" is missing`) : [],
  additionalProperties: (schema: JsonSchema, value, at) =>
    isObject(value) ? Object.entries(value).flatMap(([key, item]) => problemsOf(schema, item, `${at}.${key}`)) : [],
  anyOf: (schemas: readonly JsonSchema[], value, at) => {
    const problems = schemas.map((schema) => problemsOf(schema, value, at));
    return problems.some((each) => each.length === 0) ? [] : (problems[0] as string[]);
  },
};

/** The differences of `value` from what `schema` allows; none if it is as described. */
export function problemsOf(schema: JsonSchema, value: unknown, at = '$'): readonly string[] {
  return Object.entries(schema).flatMap(([keyword, argument]) => {
    const check = CHECKS[keyword];
    if (check === undefined) return [`${at}: the schema has the keyword "${keyword}", which this test does not know`];
    return check(argument as never, value, at, schema);
  });
}
