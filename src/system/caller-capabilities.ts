/** Capabilities of a process for the names and files of others (capabilities(7)), in its user namespace. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hasAllIds } from './user-namespace.ts';

const CAP_DAC_OVERRIDE = 1n;
const CAP_DAC_READ_SEARCH = 2n;
const BOTH = (1n << CAP_DAC_OVERRIDE) | (1n << CAP_DAC_READ_SEARCH);

/**
 * For which files a process has CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: for `all` in the user namespace of this
 * process; in another one for those whose owner and group it has there, as `capable_wrt_inode_uidgid` of the kernel has
 * it; or for `none`.
 */
export type CapabilityReach = 'all' | 'none' | { covers(uid: number, gid: number): boolean };

/** @param pid of a process or thread, as this process sees it; 0 if it does not */
export function capabilityReach(pid: number): CapabilityReach {
  if (pid === 0) return 'none';
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const effective = /^CapEff:\t([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
    if ((BigInt(`0x${effective}`) & BOTH) !== BOTH) return 'none';
    if (isSameNamespace(pid)) return 'all';
    const [uids, gids] = ['uid_map', 'gid_map'].map((name) => readFileSync(`/proc/${pid}/${name}`, 'latin1'));
    return { covers: (uid, gid) => isMapped(uids as string, uid) && isMapped(gids as string, gid) };
  } catch {
    // it has ended, or belongs to a user whom this process may not inspect
    return 'none';
  }
}

function isSameNamespace(pid: number): boolean {
  ownNamespace ??= readlinkSync('/proc/self/ns/user');
  try {
    return readlinkSync(`/proc/${pid}/ns/user`) === ownNamespace;
  } catch {
    // of a process with more rights: only root could make another namespace with all ids
    return hasAllIds(pid) && hasAllIds('self');
  }
}
let ownNamespace: string | undefined;

/** Lines of user_namespaces(7): the first id inside, the first one here, and their number. */
function isMapped(map: string, id: number): boolean {
  return map.split('\n').some((line) => {
    const [, first, count] = line.trim().split(/\s+/).map(Number);
    return first !== undefined && count !== undefined && id >= first && id < first + count;
  });
}
