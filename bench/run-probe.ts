/** Times a program, or a loop of the probe. */
import { fileURLToPath } from 'node:url';
import { CfsError } from '../src/base/error.ts';
import type { Bench, Work } from './contract.ts';
import type { Probed } from './probe.ts';
import { run } from './process.ts';

const PROBE = fileURLToPath(new URL('probe.js', import.meta.url));

/** Time of a whole program, from spawn to exit. */
export async function timeProgram(argv: readonly [string, ...string[]], bench: Bench): Promise<number> {
  // the program itself and its libraries are in memory in every sample: only the tree is cold
  await run([argv[0], '--version'], bench.signal);
  return (await run(argv, bench.signal)).ns;
}

/** Time of a loop of probe.ts. @throws CfsError (system) if it did not do the whole work */
export async function timeProbe(loop: string, work: Work, args: readonly string[], bench: Bench): Promise<number> {
  const command: [string, ...string[]] = [process.execPath, PROBE, loop, ...args];
  const { stdout } = await run(command, bench.signal, 'collect');
  const probed = JSON.parse(stdout.toString()) as Probed;
  if (probed.count !== work.count || probed.bytes !== work.bytes) {
    throw new CfsError(
      'system',
      `${loop} at ${args[0]} read ${probed.bytes} bytes in ${probed.count} ${work.unit}; the tree has ${work.bytes} in ${work.count}`,
    );
  }
  return probed.ns;
}
