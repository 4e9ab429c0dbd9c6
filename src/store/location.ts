/** Where objects go when nobody says where. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** $CFS_STORE, else /var/lib/cfs for root, else $XDG_DATA_HOME/cfs (~/.local/share/cfs). */
export function defaultStore(): string {
  const named = process.env['CFS_STORE'];
  if (named !== undefined && named !== '') return named;
  if (process.geteuid?.() === 0) return '/var/lib/cfs';
  const data = process.env['XDG_DATA_HOME'];
  // the XDG base directory specification: relative values are invalid and ignored
  return join(data?.startsWith('/') ? data : join(homedir(), '.local/share'), 'cfs');
}
