/**
 * The parts of every virtual machine that do not depend on the project: an initramfs with the modules, and a disk with
 * programs of this machine: busybox, node, criu, runc and rsync. They are made once, and again when one of their parts
 * has changed.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { CACHE, kernelModules, kernelVersion } from './kernel.ts';
import { installProgram, libraries, makeExt4, program } from './programs.ts';

export interface Base {
  readonly initramfs: string;
  /** An ext4 file system, which is never written to. */
  readonly disk: string;
}

const GUEST = join(import.meta.dirname, 'guest');

const PROGRAMS = ['busybox', 'node', 'criu', 'fsverity', 'runc', 'rsync'];

const MODULES = [
  'virtio_blk',
  'loop',
  'overlay',
  // modules for the interfaces that criu uses
  'nf_tables',
  'tcp_diag',
  'udp_diag',
  'unix_diag',
  'raw_diag',
  'netlink_diag',
  'af_packet_diag',
  'tun',
  'veth',
];

const DISK_MIB = 512;

export function makeBase(): Base {
  const key = fingerprint();
  const base: Base = { initramfs: join(CACHE, `initramfs-${key}.cpio`), disk: join(CACHE, `disk-${key}.ext4`) };
  if (existsSync(base.initramfs) && existsSync(base.disk)) return base;
  for (const name of readdirSync(CACHE)) {
    if (/^(?:initramfs-|disk-|new-)/.test(name)) rmSync(join(CACHE, name), { recursive: true });
  }
  const scratch = mkdtempSync(join(CACHE, 'new-'));
  try {
    const made: Base = { initramfs: join(scratch, 'initramfs.cpio'), disk: join(scratch, 'disk.ext4') };
    makeInitramfs(made.initramfs, join(scratch, 'initramfs'));
    makeDisk(made.disk, join(scratch, 'disk'));
    renameSync(made.initramfs, base.initramfs);
    renameSync(made.disk, base.disk);
  } finally {
    rmSync(scratch, { recursive: true });
  }
  return base;
}

/** A hash of all parts: the kernel, the programs and libraries, and the code that assembles them. */
function fingerprint(): string {
  const hash = createHash('sha256').update(kernelVersion());
  for (const name of PROGRAMS) {
    const path = program(name);
    for (const file of [path, ...libraries(path)]) {
      const { size, mtimeMs } = statSync(file);
      hash.update(`${file} ${size} ${mtimeMs}\n`);
    }
  }
  const code = [import.meta.dirname, GUEST].flatMap((directory) =>
    readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.endsWith('.test.ts'))
      .map(({ name }) => join(directory, name)),
  );
  for (const file of code.sort()) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

function makeRoot(root: string, programs: readonly string[], init: string): void {
  for (const directory of ['dev', 'proc', 'sys', 'tmp', 'run', 'root', 'payload']) {
    mkdirSync(join(root, directory), { recursive: true });
  }
  for (const name of programs) installProgram(root, name);
  for (const applet of execFileSync(program('busybox'), ['--list'], { encoding: 'utf8' }).trim().split('\n')) {
    if (!existsSync(join(root, 'bin', applet))) symlinkSync('busybox', join(root, 'bin', applet));
  }
  copyFileSync(join(GUEST, init), join(root, init));
  chmodSync(join(root, init), 0o755);
}

function makeInitramfs(file: string, root: string): void {
  makeRoot(root, ['busybox'], 'init');
  mkdirSync(join(root, 'modules'));
  const modules = kernelModules(MODULES);
  for (const { name, bytes } of modules) writeFileSync(join(root, 'modules', `${name}.ko`), bytes);
  writeFileSync(join(root, 'modules/order'), modules.map(({ name }) => `${name}\n`).join(''));
  execFileSync('sh', ['-c', 'find . | cpio --quiet -o -H newc >"$1"', 'sh', file], { cwd: root, stdio: 'inherit' });
}

function makeDisk(file: string, root: string): void {
  makeRoot(root, PROGRAMS, 'boot');
  makeExt4(file, root, DISK_MIB);
}
