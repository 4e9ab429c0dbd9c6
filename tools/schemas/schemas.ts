/**
 * The schema of each output of `--json`, by command. `cfs-info schema` prints them, and `scripts/build` writes them to
 * `share/cfs/schemas`.
 */
import { CHECKPOINT } from './checkpoint.ts';
import { error } from './common.ts';
import { INFO } from './info.ts';
import { PACK_AND_MOUNT } from './pack-and-mount.ts';
import { REPO } from './repo.ts';
import type { JsonSchema, Value } from './value.ts';

/** Of all schemas. It changes if a key is removed, or changes its type or meaning. */
export const SCHEMA_VERSION = 1;

export const OUTPUTS: Readonly<Record<string, Value>> = {
  ...PACK_AND_MOUNT,
  ...INFO,
  ...REPO,
  ...CHECKPOINT,
  error,
};

/** The name of a command as one word: "cfs-info-diff--stat". */
export const schemaName = (command: string): string => command.replaceAll(' ', '-').replace('---', '--');

/** The whole schema of an output. */
export function schemaOf(command: string): (JsonSchema & Readonly<Record<string, unknown>>) | undefined {
  if (!Object.hasOwn(OUTPUTS, command)) return undefined;
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: `urn:cfs:json:${SCHEMA_VERSION}:${schemaName(command)}`,
    title: command === 'error' ? 'what a tool prints with --json if it fails' : `${command} --json`,
    ...(OUTPUTS[command] as Value).json,
  };
}
