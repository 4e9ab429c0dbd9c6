/**
 * Boots a virtual machine on a directory, and returns the lines that it printed. qemu emulates it: KVM is not needed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeBase } from './base.ts';
import { VMLINUZ } from './kernel.ts';
import { makeExt4, program } from './programs.ts';

const PAYLOAD_MIB = 512;
/** A boot takes 5 s; the rest is for the payload, on a machine that may be busy. */
const TIMEOUT_MS = 480_000;

const PROJECT = resolve(import.meta.dirname, '../..');

/** Copies the built project to `directory`, with the packages that it needs to run. */
export function copyProject(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const lock = JSON.parse(readFileSync(join(PROJECT, 'node_modules/.package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  const packages = Object.keys(lock.packages).filter((path) => lock.packages[path]?.dev !== true);
  for (const path of ['dist', 'package.json', ...packages]) {
    // optional packages of other platforms are only in the lock file
    if (existsSync(join(PROJECT, path))) cpSync(join(PROJECT, path), join(directory, path), { recursive: true });
  }
}

/** The output of a machine: the payload's stdout, and the rest of the console. */
export interface MachineOutput {
  readonly lines: readonly string[];
  readonly console: string;
}

/**
 * Boots a machine with `payload` as its directory /payload, where it runs the shell script `run`. The machine switches
 * off when the script ends.
 * @param scratch a directory for the machine's files
 * @throws Error with the end of the console if the script fails, or does not end in time
 */
export async function runMachine(payload: string, scratch: string, timeoutMs = TIMEOUT_MS): Promise<MachineOutput> {
  try {
    return await boot(payload, scratch, timeoutMs);
  } catch (error) {
    // qemu's emulation sometimes runs an instruction of the kernel that it is just patching
    if (!(error instanceof Error && error.message.includes('Kernel panic'))) throw error;
    globalThis.console.log('the kernel of the virtual machine panicked: booted once more');
    return await boot(payload, scratch, timeoutMs);
  }
}

async function boot(payload: string, scratch: string, timeoutMs: number): Promise<MachineOutput> {
  const base = makeBase();
  const disk = join(scratch, 'payload.ext4');
  const results = join(scratch, 'results');
  makeExt4(disk, payload, PAYLOAD_MIB);
  writeFileSync(results, '');
  const child = spawn(program('qemu-system-x86_64'), qemuArguments(base, disk, results), {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let console = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      console += text;
    });
  }
  const late = await ended(child, timeoutMs);
  const lines = readFileSync(results, 'utf8').trimEnd().split('\n');
  const last = lines.pop();
  if (last === 'exit 0') return { lines, console };
  const reason = late ? `did not end in ${timeoutMs / 1000} s` : `ended with "${last}"`;
  const tail = (text: string): string => text.split('\n').slice(-60).join('\n');
  throw new Error(
    `the virtual machine ${reason}\n--- console\n${tail(console)}\n--- results\n${tail(lines.join('\n'))}`,
  );
}

function qemuArguments(base: { initramfs: string; disk: string }, payload: string, results: string): string[] {
  const disk = (file: string): string[] => ['-drive', `file=${file},format=raw,if=virtio,snapshot=on`];
  return [
    ...['-accel', 'tcg,thread=multi', '-cpu', 'Nehalem', '-smp', '2', '-m', '2048', '-nodefaults', '-no-user-config'],
    ...['-kernel', VMLINUZ, '-initrd', base.initramfs],
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on'],
    ...['-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...disk(base.disk),
    ...disk(payload),
    ...['-device', 'virtio-serial-pci', '-chardev', `file,id=results,path=${results}`],
    ...['-device', 'virtserialport,chardev=results,name=results'],
  ];
}

/** Waits until the process has ended; kills it after `timeoutMs`, and returns true then. Never leaves it behind. */
async function ended(child: ChildProcess, timeoutMs: number): Promise<boolean> {
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, timeoutMs);
  try {
    await once(child, 'close');
    return late;
  } finally {
    clearTimeout(timer);
    process.off('exit', kill);
  }
}
