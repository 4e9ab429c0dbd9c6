/** The machine of a run: figures of different machines are not comparable, and a reader must see it. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { mountOf } from './mounts.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_bytes: number;
  readonly kernel: string;
  readonly distribution: string;
  readonly node: string;
  /** Of the source and of the scratch directory. */
  readonly source_file_system: string;
  readonly scratch_file_system: string;
  /** Of the last minute, when the run began: above 0, other programs were running. */
  readonly load: number;
}

/** @param source @param scratch real paths */
export function describeMachine(source: string, scratch: string): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memory_bytes: totalmem(),
    kernel: release(),
    distribution: distribution(),
    node: process.version,
    source_file_system: mountOf(source)?.type ?? 'unknown',
    scratch_file_system: mountOf(scratch)?.type ?? 'unknown',
    load: loadavg()[0] ?? 0,
  };
}

function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}
