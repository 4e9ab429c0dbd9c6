/** CAP_SYS_ADMIN of a process (capabilities(7)). */
import { readFileSync, readlinkSync } from 'node:fs';

const CAP_SYS_ADMIN = 21n;
/** PROC_USER_INIT_INO of the kernel: capabilities of another user namespace do not count. */
const INITIAL_USER_NAMESPACE = 'user:[4026531837]';

/**
 * Whether a process has CAP_SYS_ADMIN in the initial user namespace.
 * @throws the error of node:fs if it has ended, or belongs to a user whose processes this one may not inspect
 */
export function hasAdminCapability(pid: number | 'self'): boolean {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const effective = /^CapEff:\t([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  if (((BigInt(`0x${effective}`) >> CAP_SYS_ADMIN) & 1n) === 0n) return false;
  return readlinkSync(`/proc/${pid}/ns/user`) === INITIAL_USER_NAMESPACE;
}
