/**
 * What `--json` prints, described as JSON Schema (draft 2020-12). Only the keywords that `JsonSchema` lists are used,
 * so that any validator knows them. Objects may have further keys: readers ignore keys that they do not know.
 */

/** A schema, as it is printed. */
export interface JsonSchema {
  readonly description?: string;
  readonly type?: string;
  readonly enum?: readonly (string | boolean)[];
  readonly pattern?: string;
  readonly contentEncoding?: string;
  readonly minimum?: number;
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

/** A value of an output, and whether its key may be left out. */
export class Value {
  readonly json: JsonSchema;
  readonly isOptional: boolean;
  /** Text, or a list of it, that may have bytes that are not UTF-8: its key has a twin that ends in "Base64". */
  readonly hasTwin: boolean;

  constructor(
    json: JsonSchema,
    { isOptional = false, hasTwin = false }: { readonly isOptional?: boolean; readonly hasTwin?: boolean } = {},
  ) {
    this.json = json;
    this.isOptional = isOptional;
    this.hasTwin = hasTwin;
  }

  /** The same, if its key is left out where it does not apply. */
  optional(): Value {
    return new Value(this.json, { isOptional: true, hasTwin: this.hasTwin });
  }

  /** The same with a description: a clause in English. */
  about(description: string): Value {
    return new Value({ description, ...this.json }, this);
  }
}

/** A whole number of at least 0. */
export const count: Value = new Value({ type: 'integer', minimum: 0 });
export const integer: Value = new Value({ type: 'integer' });
/** A number of at least 0, such as seconds. */
export const amount: Value = new Value({ type: 'number', minimum: 0 });
export const bool: Value = new Value({ type: 'boolean' });
/** Only if it is true; the key is left out otherwise. */
export const flag: Value = new Value({ enum: [true] }, { isOptional: true });
/** Text of cfs itself: always UTF-8. */
export const word: Value = new Value({ type: 'string' });
/** Text of users, such as paths: with a twin if it is not UTF-8. */
export const text: Value = new Value({ type: 'string' }, { hasTwin: true });
export const nothing: Value = new Value({ type: 'null' });

export const oneOf = (...words: readonly string[]): Value => new Value({ enum: words });
export const matching = (pattern: RegExp): Value => new Value({ type: 'string', pattern: pattern.source });
export const either = (...values: readonly Value[]): Value => new Value({ anyOf: values.map(({ json }) => json) });

export const list = (of: Value): Value => new Value({ type: 'array', items: of.json }, { hasTwin: of.hasTwin });

/** An object whose keys are data, such as names of requests. */
export const map = (of: Value): Value => new Value({ type: 'object', additionalProperties: of.json });

/** An object with these keys. */
export function object(keys: Readonly<Record<string, Value>>): Value {
  const entries = Object.entries(keys);
  return new Value({
    type: 'object',
    properties: Object.fromEntries(entries.flatMap(([key, value]) => propertiesOf(key, value))),
    required: entries.filter(([, { isOptional }]) => !isOptional).map(([key]) => key),
  });
}

function propertiesOf(key: string, { json, hasTwin }: Value): [key: string, schema: JsonSchema][] {
  if (!hasTwin) return [[key, json]];
  const base64 = { type: 'string', contentEncoding: 'base64' };
  const exact = json.type === 'array' ? { type: 'array', items: base64 } : base64;
  const twin = { description: `the exact bytes of "${key}", if they are not UTF-8`, ...exact };
  return [
    [key, json],
    [`${key}Base64`, twin],
  ];
}
