/** The cost of other processes: CPU time and memory, from proc(5). */
import { readdirSync, readFileSync } from 'node:fs';
import { reasonOf } from '../src/base/error.ts';

/** USER_HZ: the unit of times in proc_pid_stat(5), 100 a second on every architecture that node runs on. */
const TICK_NS = 10_000_000;

export interface Usage {
  /** User and system time since the start, in nanoseconds. */
  readonly cpuNs: number;
  readonly rssBytes: number;
  readonly pssBytes: number;
}

/** User and system time in the text of proc_pid_stat(5), in nanoseconds. */
export function parseCpuTime(stat: string): number {
  // the second field is a name in parentheses that may have blanks and parentheses in it
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_NS;
}

/** A field of proc_pid_status(5) or proc_pid_smaps(5) in kB, in bytes; 0 if it is missing. */
export function parseKilobytes(text: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0) * 1024;
}

/**
 * The cost of `pid` and of everything that it started; undefined if it is gone or not known. The CPU time of children
 * that ended is not included.
 */
export function usageOf(pid: number | undefined): Usage | undefined {
  if (pid === undefined) return undefined;
  let sum: Usage | undefined;
  for (const one of familyOf(pid)) {
    const stat = procFile(one, 'stat');
    if (stat === undefined) continue;
    sum = {
      cpuNs: (sum?.cpuNs ?? 0) + parseCpuTime(stat),
      rssBytes: (sum?.rssBytes ?? 0) + parseKilobytes(procFile(one, 'status') ?? '', 'VmRSS'),
      pssBytes: (sum?.pssBytes ?? 0) + parseKilobytes(procFile(one, 'smaps_rollup') ?? '', 'Pss'),
    };
  }
  return sum;
}

/** A process and all of its descendants. */
function familyOf(pid: number): Set<number> {
  const parents = new Map(processes().map((one) => [one, parentOf(one)]));
  const family = new Set([pid]);
  // a child may have a lower number than its parent: continue until nothing is added
  for (let before = 0; before < family.size; ) {
    before = family.size;
    for (const [one, parent] of parents) if (parent !== undefined && family.has(parent)) family.add(one);
  }
  return family;
}

function parentOf(pid: number): number | undefined {
  const parent = /^PPid:\s*(\d+)/m.exec(procFile(pid, 'status') ?? '')?.[1];
  return parent === undefined ? undefined : Number(parent);
}

/**
 * The process of program `name` that has `argument` in its command line, e.g. a mount point; undefined if there is
 * none.
 */
export function processWith(name: string, argument: string): number | undefined {
  return processes().find((pid) => {
    const words = (procFile(pid, 'cmdline') ?? '').split('\0');
    return words[0]?.endsWith(name) && words.includes(argument);
  });
}

/** The command line of a process, its words separated by NUL; empty if it is gone or a zombie. */
export const commandLine = (pid: number): string => procFile(pid, 'cmdline') ?? '';

const processes = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

/** A file of proc(5); undefined if the process is gone, or this user may not read it. */
function procFile(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch (error) {
    if (/ENOENT|ESRCH|EACCES|EPERM/.test(String(error))) return undefined;
    throw new Error(`Cannot read /proc/${pid}/${name}: ${reasonOf(error)}`);
  }
}
