/** Holds what tools print with --json against their schemas. */
import { error } from '../../tools/schemas/common.ts';
import { COMPARE_TREES } from '../../tools/schemas/pack-and-mount.ts';
import { OUTPUTS } from '../../tools/schemas/schemas.ts';
import type { Value } from '../../tools/schemas/value.ts';
import { problemsOf } from './json-schema.ts';

/** Tools whose output has a format of its own. */
const OTHERS: readonly string[] = ['cfs-bench'];
/** Outputs that are one value a line. */
const LINES: readonly string[] = ['cfs-info top'];
const VARIANTS: readonly string[] = ['--stat', '--tree', '--upgrade', '--rebase'];

export const schemas: Readonly<Record<string, Value>> = { ...OUTPUTS, 'compare-trees': COMPARE_TREES };

/** The command as docs/json.md and the schemas name it: "cfs-info diff --stat". */
export function commandOf(tool: string, args: readonly string[]): string {
  const hasCommands = Object.keys(OUTPUTS).some((name) => name.startsWith(`${tool} `) && !name.includes(' --'));
  const command = hasCommands ? args.find((word) => !word.startsWith('-')) : undefined;
  const name = command === undefined ? tool : `${tool} ${command}`;
  const variant = VARIANTS.find((word) => args.includes(word) && Object.hasOwn(schemas, `${name} ${word}`));
  return variant === undefined ? name : `${name} ${variant}`;
}

/** The problems of one output; none if it is as its schema says. */
export function problemsOfOutput(command: string, value: unknown): readonly string[] {
  const schema = schemas[command];
  if (schema === undefined) return [`there is no schema of "${command}": see CONTRIBUTING.md`];
  return problemsOf(schema.json, value, command);
}

/**
 * The problems of what a tool wrote to standard output, if it was run with --json: an error has a schema, too. A list
 * that an error cuts off is no JSON, and is not checked.
 */
export function problemsOfRun(tool: string, args: readonly string[], stdout: string, isOk: boolean): readonly string[] {
  if (!args.includes('--json') || OTHERS.includes(tool) || args.includes('--help')) return [];
  const command = commandOf(tool, args);
  let values: unknown[];
  try {
    values = LINES.includes(command)
      ? stdout
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line))
      : [JSON.parse(stdout)];
  } catch {
    return isOk ? [`${command}: not JSON: ${stdout.slice(0, 100)}`] : [];
  }
  return values.flatMap((value) => {
    const isError = !isOk && problemsOf(error.json, value).length === 0;
    return isError ? [] : problemsOfOutput(command, value);
  });
}
