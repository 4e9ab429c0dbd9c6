/**
 * Fails at once, with a line that says what to do, where a virtual machine cannot be made: a skipped test would prove nothing. Then makes
 * what all of them start from, so that tests which run at the same time do not both.
 */
import { existsSync } from 'node:fs';
import { makeBase } from './base.ts';
import { kernelVersion } from './kernel.ts';
import { findProgram } from './programs.ts';

const PROGRAMS = ['qemu-system-x86_64', 'mkfs.ext4', 'busybox', 'cpio', 'xz', 'criu', 'fsverity', 'gcc'];

export default function setup(): void {
  if (!existsSync('dist/tools/cfs-mount.js')) throw new Error("dist/ is missing: run 'make build' first");
  const missing = PROGRAMS.filter((name) => findProgram(name) === undefined);
  if (missing.length > 0)
    throw new Error(`missing for test/vm: ${missing.join(', ')}. 'scripts/setup test' installs it`);
  kernelVersion();
  makeBase();
}
