/** The ids of a user namespace, user_namespaces(7). */
import { readFileSync } from 'node:fs';

/** The whole range of ids, as the initial user namespace has it: "0 0 4294967295". */
const ALL_IDS = /^\s*0\s+0\s+4294967295\s*$/;

/** Whether the namespace of a process has all user ids. @throws errors of node:fs */
export const hasAllIds = (who: number | 'self'): boolean =>
  ALL_IDS.test(readFileSync(`/proc/${who}/uid_map`, 'latin1'));

/** Whether this process is outside of all user namespaces; true without /proc, or if the kernel has none. */
export function mapsEverybody(): boolean {
  try {
    return hasAllIds('self');
  } catch {
    return true;
  }
}
