/**
 * Measures the memory of some processes, including page cache and kernel objects. A separate memory cgroup counts
 * exactly that (cgroup v2, or v1 on older systems). Without one, the growth of the whole machine is used, which
 * includes other processes.
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../src/base/error.ts';

export interface MemoryMeter {
  /** The method, for the report. */
  readonly method: string;
  /** The bytes in use now. */
  read(): number;
  /** Restores everything. The measured processes must have ended. */
  end(): void;
}

interface Hierarchy {
  readonly version: 1 | 2;
  /** The directory in which memory cgroups are made. */
  readonly root: string;
  /** The file with the bytes in use. */
  readonly usage: string;
}

/** From the text of proc_pid_mountinfo(5): the hierarchies that account memory. */
export function memoryHierarchies(mountinfo: string): Hierarchy[] {
  return mountinfo.split('\n').flatMap((line): Hierarchy[] => {
    const [mount = '', fileSystem = ''] = line.split(' - ');
    const [type, , options = ''] = fileSystem.split(' ');
    const root = mount.split(' ')[4] ?? '';
    if (type === 'cgroup2') return [{ version: 2, root, usage: 'memory.current' }];
    if (type !== 'cgroup' || !options.split(',').includes('memory')) return [];
    return [{ version: 1, root, usage: 'memory.usage_in_bytes' }];
  });
}

/** Bytes of the page cache, of block devices, and of file systems' own objects, from the text of proc_meminfo(5). */
export function cachedBytes(meminfo: string): number {
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(meminfo)?.[1] ?? 0);
  return (field('Cached') + field('Buffers') + field('SReclaimable') + field('AnonPages')) * 1024;
}

/** A meter of this process and everything that it starts from now on. */
export function startMemoryMeter(): MemoryMeter {
  for (const hierarchy of memoryHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'))) {
    try {
      return cgroupMeter(hierarchy);
    } catch {
      // not permitted, or no memory controller there: the next one, or the whole machine
    }
  }
  const read = (): number => cachedBytes(readFileSync('/proc/meminfo', 'utf8'));
  return { method: 'growth of Cached, Buffers, SReclaimable and AnonPages of the whole machine', read, end: () => {} };
}

function cgroupMeter({ version, root, usage }: Hierarchy): MemoryMeter {
  const home = join(root, ownCgroup(version), 'cgroup.procs');
  const group = join(root, `cfs-bench-${process.pid}`);
  mkdirSync(group);
  const read = (): number => Number(readFileSync(join(group, usage), 'utf8'));
  const end = (): void => {
    writeFileSync(home, String(process.pid));
    removeGroup(group);
  };
  try {
    read(); // it is missing if the parent does not delegate the controller
    writeFileSync(join(group, 'cgroup.procs'), String(process.pid));
    return { method: `memory cgroup (version ${version})`, read, end };
  } catch (error) {
    rmdirSync(group);
    throw new Error(`Cannot use the cgroup ${group}: ${reasonOf(error)}`);
  }
}

const PATIENCE_MS = 10_000;
const PAUSE_MS = 20;
const never = new Int32Array(new SharedArrayBuffer(4));

/** The servers of what was unmounted are still in the group while they end: rmdir(2) fails with EBUSY until then. */
function removeGroup(group: string): void {
  for (const limit = performance.now() + PATIENCE_MS; ; Atomics.wait(never, 0, 0, PAUSE_MS)) {
    try {
      rmdirSync(group);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || performance.now() > limit) throw error;
    }
  }
}

/** The path of this process's cgroup in its hierarchy. */
function ownCgroup(version: 1 | 2): string {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').split('\n');
  const line = lines.find((one) => {
    const controllers = one.split(':')[1] ?? '';
    return version === 2 ? controllers === '' : controllers.split(',').includes('memory');
  });
  if (line === undefined) throw new Error('no cgroup in /proc/self/cgroup');
  return line.split(':').slice(2).join(':');
}
