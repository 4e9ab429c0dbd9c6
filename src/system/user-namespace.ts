/** Whether this process is in the first user namespace. */
import { readFileSync } from 'node:fs';

/** The map outside of all user namespaces: "0 0 4294967295", user_namespaces(7). */
export function mapsEverybody(): boolean {
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
  } catch {
    return true; // no /proc, or a kernel without user namespaces
  }
}
