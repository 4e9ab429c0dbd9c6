/** Every system that can be measured, in the order of the tables. Another one is another row. */
import type { SystemRow } from './contract.ts';
import { cfsRow } from './system-cfs.ts';
import { OVERLAYFS } from './system-overlayfs.ts';
import { SOURCE } from './system-source.ts';

export const SYSTEMS: readonly SystemRow[] = [
  SOURCE,
  OVERLAYFS,
  cfsRow('cfs', 'cfs, kernel driver, verify=open (the default)', []),
  cfsRow('cfs-off', 'cfs, kernel driver, verify=off', ['verify=off']),
];

/** The systems that every other one is compared with. */
export const REFERENCES: readonly string[] = [OVERLAYFS.name, SOURCE.name];
