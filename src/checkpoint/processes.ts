/** The processes of a checkpoint: the named ones, with all their descendants. */
import { readdirSync, readFileSync } from 'node:fs';
import { CfsError, reasonOf } from '../base/error.ts';

/**
 * The processes and their descendants, each once; without this one, which is gone before the dump.
 * @throws CfsError (usage) if one of `pids` does not exist
 */
export function processTree(pids: readonly number[]): number[] {
  const found = new Set<number>();
  const waiting = [...pids];
  for (let pid = waiting.shift(); pid !== undefined; pid = waiting.shift()) {
    if (found.has(pid) || pid === process.pid) continue;
    try {
      waiting.push(...childrenOf(pid));
    } catch (error) {
      if (!pids.includes(pid)) continue; // it has ended in the meantime
      throw new CfsError('usage', `Cannot inspect process ${pid}: ${reasonOf(error)}`, { cause: error });
    }
    found.add(pid);
  }
  return [...found];
}

function childrenOf(pid: number): number[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  );
}
