/** `cfs-info schema`: the schemas of the outputs of `--json`. */
import { CfsError } from '../../src/base/error.ts';
import { suggestion } from '../../src/base/suggest.ts';
import { OUTPUTS, schemaOf } from '../schemas/schemas.ts';
import type { Output } from './output.ts';

/**
 * @param words a command, such as `cfs-info stat`; none for an object that has all schemas by command
 * @throws CfsError (usage) if the command has none
 */
export function showSchema(words: readonly string[], out: Output): void {
  const commands = Object.keys(OUTPUTS);
  const all = (): object => Object.fromEntries(commands.map((command) => [command, schemaOf(command)]));
  const command = words.join(' ');
  const value = words.length === 0 ? all() : schemaOf(command);
  if (value === undefined) {
    const near = suggestion(command, commands);
    const others = near === '' ? ". 'cfs-info schema | jq keys' lists them" : near;
    throw new CfsError('usage', `there is no schema of "${command}"${others}`);
  }
  out.text(`${JSON.stringify(value, null, 2)}\n`);
}
