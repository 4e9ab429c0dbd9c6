/**
 * If no virtual machine can be made, this fails at once with a line that says what to do: a skipped test would prove
 * nothing. Otherwise it makes the common parts of all machines, so that tests that run at the same time do not.
 */
import { existsSync } from 'node:fs';
import { makeBase } from './base.ts';
import { kernelVersion } from './kernel.ts';
import { findProgram } from './programs.ts';

const PROGRAMS = [
  'qemu-system-x86_64',
  'mkfs.ext4',
  'busybox',
  'cpio',
  'xz',
  'criu',
  'fsverity',
  'runc',
  'rsync',
  'gcc',
];

export default function setup(): void {
  if (!existsSync('dist/tools/cfs-mount.js')) throw new Error("dist/ is missing: run 'make build' first");
  const missing = PROGRAMS.filter((name) => findProgram(name) === undefined);
  if (missing.length > 0)
    throw new Error(`missing for test/vm: ${missing.join(', ')}. 'scripts/setup test' installs it`);
  kernelVersion();
  makeBase();
}
