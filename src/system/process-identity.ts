/** Processes by their start, because the numbers of processes are used again. */
import { readFileSync } from 'node:fs';

/** Identifies a process unambiguously. */
export interface ProcessIdentity {
  readonly pid: number;
  /** In ticks since the machine started. */
  readonly startTime: string;
  /** Of the machine's start. */
  readonly boot: string;
}

/** The identity of a process that runs. */
export const identityOf = (pid: number): ProcessIdentity => ({
  pid,
  startTime: startTimeOf(pid) ?? '',
  boot: bootId(),
});

/** Whether it has not ended. */
export const isRunning = ({ pid, startTime, boot }: ProcessIdentity): boolean =>
  boot === bootId() && startTimeOf(pid) === startTime;

/** Whether a value of JSON is a ProcessIdentity. */
export const isProcessIdentity = (value: unknown): value is ProcessIdentity => {
  const { pid, startTime, boot } = (value ?? {}) as Partial<Record<keyof ProcessIdentity, unknown>>;
  return Number.isInteger(pid) && (pid as number) > 1 && typeof startTime === 'string' && typeof boot === 'string';
};

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();

/** Undefined if the process has ended. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // after the name, which may contain blanks and parentheses: the state is the third field, the start the 22nd
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
